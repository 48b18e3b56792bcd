"""The model of a run that every drawing uses: the same after each fact, however it was folded."""

from functools import reduce

from msgspec.structs import replace
from run_histories import (
    READY,
    Entry,
    answered,
    asked,
    attempt,
    begun,
    candidate,
    ended,
    finished,
    gate,
    gate_started,
    numbered,
    resumed,
    run_ended,
    state_after,
    task_started,
)

from orchestrator.run import state as state_module
from orchestrator.run.facts import AgentText, AgentTool, Fact, StillRunning
from orchestrator.run.state import RunState
from orchestrator.run.view import RunView, follow

PASSED = (attempt(), ended("completed"), candidate(), gate_started(), gate("pass"), finished())


def view_after(*entries: Entry, first: int = 1, state: RunState | None = None) -> RunView:
    return reduce(follow, numbered(entries, first=first), RunView(state=state))


def says(text: str) -> Entry:
    return Entry(AgentText(text=text), "1", 1)


def does(summary: str) -> Entry:
    return Entry(AgentTool(name="Bash", summary=summary), "1", 1)


def test_the_state_is_that_of_the_fold() -> None:
    assert view_after(*READY, *PASSED).state == state_after(*READY, *PASSED)


def test_the_agents_last_two_lines_and_its_tool_call() -> None:
    (doing,) = view_after(*READY, attempt(), says("one"), says(" \n"), does("ls"), does("make")).doing
    assert doing.what == "attempt" and doing.since.endswith("05.000Z")
    assert doing.tool == AgentTool(name="Bash", summary="make") and doing.tool_since.endswith("09.000Z")
    assert [getattr(each, "summary", None) for each in doing.said] == ["ls", "make"]


def test_a_text_ends_the_tool_call_and_the_attempt_ends_both() -> None:
    (doing,) = view_after(*READY, attempt(), does("ls"), says("done")).doing
    assert doing.tool is None and doing.said == (
        AgentTool(name="Bash", summary="ls"),
        AgentText(text="done"),
    )
    (doing,) = view_after(*READY, attempt(), does("ls"), ended("completed")).doing
    assert doing.what == "step" and doing.said == ()


def test_a_run_that_has_ended_or_waits_does_nothing() -> None:
    assert view_after(*READY, attempt(), run_ended("interrupted")).doing == ()
    (doing,) = view_after(*READY, run_ended("interrupted"), resumed()).doing
    assert doing.what == "step"


def test_a_sign_of_life_does_not_begin_a_step() -> None:
    still = Entry(StillRunning(what="setup", seconds=5, text=""))
    (doing,) = view_after(begun(), still, still).doing
    assert doing.since.endswith("01.000Z")


def test_a_question_is_open_until_it_is_answered() -> None:
    open_question = view_after(*READY, attempt(), ended("needs_human"), asked()).question
    assert open_question is not None and open_question.asked.options == ("a", "b")
    assert view_after(*READY, attempt(), ended("needs_human"), asked(), answered()).question is None


def test_facts_that_the_state_has_are_not_folded_again() -> None:
    before = (*READY, *PASSED, run_ended("interrupted"))
    after = (resumed(), task_started())
    whole = state_after(*before, *after)
    assert view_after(*after, first=len(before) + 1, state=whole).state == whole


def test_agent_output_is_folded_without_the_facts_before_it(monkeypatch) -> None:
    """A draw costs the same after ten facts and after 100,000: no fact is read twice."""
    folded: list[Fact] = []

    def advance(state: RunState, fact: Fact) -> RunState:
        folded.append(fact)
        return state_module.advance(state, fact)

    monkeypatch.setattr("orchestrator.run.view.advance", advance)
    view = view_after(*READY, attempt(), *(says(str(n)) for n in range(50)))
    assert len(folded) == len(READY) + 50 and view.doing[0].said[-1] == AgentText(text="49")


def test_without_its_earlier_facts_a_run_still_says_what_it_does() -> None:
    view = view_after(attempt(), does("ls"), first=10)
    assert view.state is None and view.doing[0].tool == AgentTool(name="Bash", summary="ls")
    assert replace(view, work={}).doing == ()
