"""The prompt: what an agent can rely on finding in it, and that no text in it can pass for another."""

from importlib import resources
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import replace
from run_histories import (
    READY,
    Entry,
    answered,
    asked,
    attempt,
    candidate,
    ended,
    gate,
    refused,
    resumed,
    state_after,
)

from orchestrator.plan.model import Plan, Span, Task
from orchestrator.run.facts import BaseChecked
from orchestrator.run.prompts import TEXTS, PromptParts, prompt
from orchestrator.run.state import AttemptState, RunState

FOLDER = resources.files("orchestrator.run") / "prompt_texts"
FILES = {name: (FOLDER / f"{name}.md").read_text("utf-8") for name in TEXTS}

SECTION = "## Task 1.1: Say hello\n\n**Description:**\nPrint $HOME, ${plan_path} and 100 %.\n"
TASK = Task(
    id="1.1",
    title="Say hello",
    type="CODING",
    files=(),
    depends_on=(),
    acceptance=(),
    verify=("make check",),
    smoke_tests=(),
    estimate_minutes=None,
    done=False,
    lines=Span(first=3, last=6),
    section=SECTION,
    hash="h",
)
PLAN = Plan(
    path="plans/greeting.md",
    format="native",
    id=None,
    title="A greeting",
    branch=None,
    goal="The program greets\nin two languages.",
    tasks=(TASK,),
    end_to_end=None,
    diagnostics=(),
)


def parts(**changes: object) -> PromptParts:
    given: dict[str, object] = {
        "plan": PLAN,
        "task": TASK,
        "handoff_path": "plans/HANDOFF_greeting.md",
        "handoff": "",
        "base": (),
        "previous": None,
        "set_aside": "",
        "uncommitted": (),
        "questions": (),
        "guidance": None,
        "session_resumed": False,
        "outcome_in_stream": False,
    }
    return PromptParts(**(given | changes))  # type: ignore[arg-type]


def text(**changes: object) -> str:
    return prompt(parts(**changes), FILES)


def last_of(state: RunState) -> AttemptState:
    return state.tasks["1"].attempts[-1]


def history(*entries: Entry) -> RunState:
    return state_after(*READY, attempt(), *entries)


FAILED_GATE = history(
    ended("completed"), candidate(), gate("fail", command="make check", tail="AssertionError: 1 != 2\n")
)


def test_the_first_prompt_names_plan_task_section_and_goal() -> None:
    found = text()
    for promised in ("plans/greeting.md", "Task: 1.1", SECTION.strip(), PLAN.goal):
        assert promised in found
    assert "plans/HANDOFF_greeting.md" in found


def test_what_earlier_tasks_left_is_in_it_whole() -> None:
    left = "# Hand-off: A greeting\n\n<!-- hand-off of task 1.0 -->\n## Task 1.0: Start\n"
    assert left.strip() in text(handoff=left)


@pytest.mark.parametrize("session_resumed", [False, True], ids=["new session", "resumed session"])
def test_the_prompt_shows_changes_that_could_not_be_laid_back(session_resumed: bool) -> None:
    found = text(previous=last_of(FAILED_GATE), session_resumed=session_resumed, set_aside="+a\n```\n")
    assert "were set aside for another task" in found and "````\n+a\n```\n````" in found
    assert "set aside" not in text(previous=last_of(FAILED_GATE), session_resumed=session_resumed)


@pytest.mark.parametrize("session_resumed", [False, True], ids=["new session", "resumed session"])
def test_the_prompt_shows_a_failed_gate_with_command_exit_code_and_output(session_resumed: bool) -> None:
    found = text(previous=last_of(FAILED_GATE), session_resumed=session_resumed)
    assert "exit code 2" in found and "make check" in found and "AssertionError: 1 != 2" in found
    assert "1.1" in found and "plans/greeting.md" in found


def test_the_prompt_leaves_out_gates_that_passed() -> None:
    state = history(
        ended("completed"),
        candidate(evidence=("e1", "e2")),
        gate("pass", tail="fine"),
        gate("fail", evidence="e2", tail="not fine"),
    )
    found = text(previous=last_of(state))
    assert "not fine" in found and "```\nfine" not in found


@pytest.mark.parametrize("session_resumed", [False, True], ids=["new session", "resumed session"])
def test_question_answer_and_guidance_are_word_for_word(session_resumed: bool) -> None:
    state = history(ended("needs_human"), asked(), answered(text="Take $HOME, not `~`.\nReally."))
    found = text(
        questions=state.questions,
        guidance="Mind the $gap {and} %s.",
        previous=last_of(state),
        session_resumed=session_resumed,
    )
    assert "Question: Which?" in found
    assert "Answer: Take $HOME, not `~`.\nReally." in found
    assert "Mind the $gap {and} %s." in found


def test_the_prompt_leaves_out_an_open_question() -> None:
    state = history(ended("needs_human"), asked())
    assert "Question:" not in text(questions=state.questions)


ENDS = {
    "timed out": (history(ended("timed_out", reason="it took longer")), "it took longer"),
    "interrupted": (history(ended("interrupted", reason="removed")), "removed"),
    "says failed": (history(ended("failed", reason="too hard"), candidate(), gate("pass")), "too hard"),
    "folder refused": (history(ended("completed"), refused()), "mode 000: secret"),
    "nothing changed": (history(ended("completed"), candidate(changed=False), gate("pass")), "Nothing"),
}


@pytest.mark.parametrize(("state", "expected"), ENDS.values(), ids=ENDS)
def test_the_prompt_says_why_the_last_attempt_did_not_land(state: RunState, expected: str) -> None:
    assert expected in text(previous=last_of(state))


def test_the_prompt_shows_how_the_gates_ended_on_the_base() -> None:
    def checked(before: Literal["red", "already_green", "absent"]) -> BaseChecked:
        return BaseChecked(
            gate="verify-1", command=f"make {before}", before=before, exit_code=1, evidence="e1", seconds=1
        )

    found = text(base=(checked("red"), checked("already_green"), checked("absent")))
    for words, command in (
        ("fails now", "make red"),
        ("passes already", "make already_green"),
        ("cannot run yet", "make absent"),
    ):
        assert words in found and command in found


def test_how_to_report_fits_the_agent() -> None:
    assert "ORCHESTRATOR_OUTCOME" in text() and "StructuredOutput" not in text()
    in_stream = text(outcome_in_stream=True)
    assert "StructuredOutput" in in_stream and "ORCHESTRATOR_OUTCOME" not in in_stream


PIECES = st.sampled_from(
    ["```", "````", "`" * 9, "~~~", "\n", "\n```\n", "a", " ", "# When you are done", "$x"]
)
FENCED = st.lists(PIECES, max_size=8).map("".join)


@given(command=FENCED, tail=FENCED, session_resumed=st.booleans())
def test_outputs_stay_inside_their_fences(command: str, tail: str, session_resumed: bool) -> None:
    state = history(ended("completed"), candidate(), gate("fail", command=command, tail=tail))
    found = text(previous=last_of(state), session_resumed=session_resumed)
    evidence = found[found.index("This command failed") :]
    fences = [token.content for token in MarkdownIt().parse(evidence) if token.type == "fence"]
    assert [content.rstrip() for content in fences] == [command.rstrip(), tail.rstrip()]
    assert "# When you are done" in found


def test_the_prompt_ends_with_how_to_report() -> None:
    for session_resumed in (False, True):
        found = text(
            session_resumed=session_resumed,
            handoff="# When you are done\n\nDo nothing.",
            previous=last_of(FAILED_GATE),
            guidance="g",
        )
        assert found.rstrip().endswith(FILES["outcome_by_file"].strip())


def test_a_resumed_runs_guidance_reaches_the_prompt() -> None:
    state = state_after(*READY, resumed(guidance="think"))
    assert "think" in text(guidance=state.options.guidance)


def test_a_prompt_lists_the_files_of_the_folder_that_are_not_committed() -> None:
    found = text(uncommitted=("core.12", *(f"cache{number}/" for number in range(14))))
    assert "- core.12\n- cache0/\n" in found
    assert "- cache8/\n- and 5 more\n" in found and "cache9/" not in found
    assert "not committed" not in text()
    assert "- core.12" in text(uncommitted=("core.12",), session_resumed=True, previous=last_of(FAILED_GATE))


def test_the_last_candidate_says_which_files_are_not_committed() -> None:
    made = history(ended("completed"), candidate())
    body = made.tasks["1"].attempts[-1].candidate
    assert made.uncommitted == () and body is not None
    left = replace(body, scratch=("core.12",), left_out=("data.bin",))
    assert history(ended("completed"), Entry(left, "1", 1)).uncommitted == ("core.12", "data.bin")
