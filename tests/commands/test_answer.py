"""`answer`: one fact by another process, the first one counts, and the run continues the same session."""

import argparse
from collections.abc import Callable

import pytest
from run_histories import READY, asked, attempt, ended, state_after

from orchestrator.cli.answer_command import add_answer
from orchestrator.cli.main import main
from orchestrator.commands.answer import (
    AnswerRequest,
    Choice,
    Option,
    Recommended,
    answer,
    choose_question,
    word_answer,
)
from orchestrator.errors import UsageError
from orchestrator.run.facts import AttemptStarted, QuestionAnswered, QuestionAsked
from orchestrator.run.state import QuestionState
from orchestrator.testing.agent import ScriptedAgent, reports, works
from orchestrator.testing.project import PLAN, TemporaryProject

MakeProject = Callable[..., TemporaryProject]
ASKS = reports("needs_human", question="Tea?", options=["tea", "coffee"], recommendation="tea, hot")


def question(**more: object) -> QuestionState:
    body = QuestionAsked(question="q1", text="Tea?", **more)  # type: ignore[arg-type]
    return QuestionState(task="1", attempt=1, asked_at="", asked=body)


@pytest.mark.parametrize(
    ("choice", "text"), [(Option(number=2), "coffee"), (Recommended(), "tea, hot"), (" water ", "water")]
)
def test_the_text_of_an_answer(choice: Choice, text: str) -> None:
    assert word_answer(question(options=("tea", "coffee"), recommendation="tea, hot"), choice) == text


@pytest.mark.parametrize("choice", [Option(number=0), Option(number=3), Recommended(), " \n"], ids=str)
def test_an_answer_that_the_question_does_not_offer(choice: Choice) -> None:
    with pytest.raises(UsageError):
        word_answer(question(options=("tea", "coffee")), choice)


def test_a_run_without_a_question_and_one_that_is_not_its() -> None:
    state = state_after(*READY, attempt())
    with pytest.raises(UsageError, match="has no question"):
        choose_question(state, None)
    with pytest.raises(UsageError, match="has no question q7"):
        choose_question(state_after(*READY, attempt(), ended("needs_human"), asked()), "q7")


def test_the_answer_is_stored_once_and_resume_continues_the_session(make_project: MakeProject) -> None:
    agent = ScriptedAgent({("1", 1): (ASKS,), ("1", 2): works("1")})
    with make_project(tasks=("1",), agent=agent) as project:
        run = project.run().run
        taken = project.do(answer(project.host, AnswerRequest(run=PLAN, choice=Option(number=2))))
        assert (taken.run, taken.answer.text, taken.has_owner) == (run, "coffee", False)
        with pytest.raises(UsageError, match=r"q1 was answered at .* \(by answer\): coffee"):
            project.do(answer(project.host, AnswerRequest(run=run, choice="water")))
        assert project.resume().exit_code == 0
        bodies = [fact.body for fact in project.facts(run)]
        first, second = [body for body in bodies if isinstance(body, AttemptStarted)]
        assert second.session == first.session
        assert [body.text for body in bodies if isinstance(body, QuestionAnswered)] == ["coffee"]
        with pytest.raises(UsageError, match="is completed"):
            project.do(answer(project.host, AnswerRequest(run=run, choice="water")))


@pytest.mark.parametrize(
    "words", [(), ("text", "--recommended"), ("--option", "1", "--recommended")], ids=str
)
def test_exactly_one_answer_is_given(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["answer", "plan-1", *words])
    assert refused.value.code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("plan-1", "the text", "--question", "q2"),
        ("plan-1", "--question", "q2", "the text"),
        ("--question", "q2", "plan-1", "the text"),
        ("--question=q2", "plan-1", "--", "the text"),
    ],
    ids=" ".join,
)
def test_the_words_may_come_in_any_order(words: tuple[str, ...]) -> None:
    parser = argparse.ArgumentParser()
    add_answer(parser)
    given = parser.parse_args(words)
    assert (given.run, given.text, given.question) == ("plan-1", "the text", "q2")
