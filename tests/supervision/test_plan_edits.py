"""An edited plan and a run's tasks: what stays, what is new, what leaves a doubt."""

import pytest
from msgspec.structs import replace
from plan_makers import plan as plan_of
from plan_makers import task
from run_histories import OPTIONS, Entry, attempt, begun, ended, finished, landing, numbered, task_started

from orchestrator.errors import UsageError
from orchestrator.plan.model import Plan
from orchestrator.run.facts import PlanTaken, RunStarted
from orchestrator.run.state import RunState, advance, fold
from orchestrator.supervision.plan_edits import entries_of, find_ticked_off, is_in_flight, take_edited_plan

NONE = frozenset[str]()


def plan(**hashes: str) -> Plan:
    """Tasks by id (t1="hash of its text")."""
    return plan_of(*(task(name[1:], hash=text) for name, text in hashes.items()))


HASHES = ("one", "two", "three", "new")
BEFORE = plan(t1="one", t2="two", t3="three")


def record(*entries: Entry, only: tuple[str, ...] = ()) -> RunState:
    start = begun("1", "2", "3").body
    assert isinstance(start, RunStarted)
    start = replace(start, tasks=entries_of(BEFORE), options=replace(OPTIONS, only=only))
    return fold(numbered((Entry(start), *entries)))


ONE_DONE = (finished(task="1"), task_started("2"), attempt(task="2"), ended("failed", task="2"))
STATE = record(*ONE_DONE, finished("failed", task="2"))


def after(state: RunState, taken: PlanTaken) -> RunState:
    (fact,) = numbered([Entry(taken)], first=state.last_n + 1)
    return advance(state, fact)


def taken(edited: Plan, *, state: RunState = STATE, keep: str = "", redo: str = "") -> RunState:
    made = take_edited_plan(
        state, edited, keep=frozenset(keep.split()), redo=frozenset(redo.split()), stored="x"
    )
    return after(state, made)


def test_finished_and_unchanged_tasks_stay_and_the_others_are_as_they_read_now() -> None:
    state = taken(plan(t4="new", t1="one", t2="better"))
    assert list(state.tasks) == ["4", "1", "2"]
    assert state.tasks["1"].is_done
    assert state.tasks["2"].entry.hash == "better"
    assert [state.tasks[task].attempts_before_edit for task in ("2", "4")] == [1, 0]
    assert (state.plan_stored, state.start.plan_title, state.base_checked) == ("x", "A greeting", False)


def test_a_finished_task_that_is_gone_stays_finished() -> None:
    assert taken(plan(t2="two")).tasks["1"].is_done


@pytest.mark.parametrize(("keep", "redo", "met"), [("1", "", True), ("", "1", False)], ids=["keep", "redo"])
def test_a_finished_task_that_was_edited(keep: str, redo: str, met: bool) -> None:
    edited = plan(t1="one more", t2="two", t3="three")
    with pytest.raises(UsageError, match="task 1 is finished, but its text was edited"):
        taken(edited)
    state = taken(edited, keep=keep, redo=redo)
    assert (state.tasks["1"].is_done, state.tasks["1"].entry.hash) == (met, "one more")
    assert state.tasks["1"].was_redone == bool(redo)
    taken(edited, state=state)  # there is no doubt any more


def test_a_task_that_was_begun_may_not_go_and_one_that_was_not_may() -> None:
    with pytest.raises(UsageError, match="task 2 was started"):
        taken(plan(t1="one", t3="three"))
    assert list(taken(plan(t1="one", t2="two")).tasks) == ["1", "2"]


def test_new_tasks_of_a_run_with_some_tasks_only_are_left_out() -> None:
    state = taken(plan(t1="one", t4="new"), state=record(only=("1",)))
    left_out = state.tasks["4"].finished
    assert left_out is not None
    assert left_out.status == "skipped"


def test_an_attempt_or_landing_without_an_end_is_in_flight() -> None:
    assert not is_in_flight(STATE)
    assert is_in_flight(record(task_started(), attempt()))
    assert is_in_flight(record(task_started(), attempt(), ended("completed"), landing()))


def test_a_ticked_task_is_imported_unless_it_was_begun_or_is_to_be_redone() -> None:
    ticked = plan_of(*(task(id, hash=text, done=True) for id, text in zip("1234", HASHES, strict=True)))
    state = record(*ONE_DONE)
    assert list(find_ticked_off(taken(ticked, state=state), ticked)) == ["3", "4"]
    assert list(find_ticked_off(taken(ticked, state=state, redo="1"), ticked)) == ["3", "4"]


def test_a_ticked_task_that_the_run_leaves_out_stays_left_out() -> None:
    ticked = plan_of(task("1", hash="one"), task("4", hash="new", done=True))
    assert find_ticked_off(taken(ticked, state=record(only=("1",))), ticked) == {}
