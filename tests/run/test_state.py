"""The fold: facts in, state out; what cannot follow is refused."""

from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_histories import (
    BASE_CHECKED,
    OPTIONS,
    READY,
    Entry,
    answered,
    asked,
    attempt,
    begun,
    candidate,
    compared,
    ended,
    finished,
    gate,
    gate_started,
    landing,
    landing_refused,
    numbered,
    refused,
    resumed,
    run_ended,
    saved,
    scenario,
    state_after,
    task_started,
    undone,
)

from orchestrator.events import Usage
from orchestrator.run.facts import (
    BODIES,
    AttemptEnded,
    BaseChecked,
    Body,
    CancelRequested,
    NamesReserved,
    RunStarted,
    UndoneTask,
    UndoStarted,
)
from orchestrator.run.state import RunState, advance, begin, fold

LONG = (
    begun("1", "2", end_to_end=True),
    Entry(
        BaseChecked(gate="verify-1", command="a", before="red", exit_code=1, evidence="e1", seconds=1), "1"
    ),
    BASE_CHECKED,
    *READY[2:],
    attempt(1),
    ended("completed", 1),
    candidate(1, evidence=("e2", "e3")),
    gate_started("e2"),
    gate("pass", evidence="e2"),
    gate("fail", evidence="e3"),
    attempt(2),
    ended("interrupted", 2),
    saved(2),
    run_ended("interrupted", 130),
    resumed(guidance="think"),
    compared(2, edited=("a.py",), head="edits1"),
    candidate(2, evidence=("e4",), by_hand=True),
    gate("pass", 2, evidence="e4"),
    landing(2),
    landing_refused(2),
    run_ended("parked", 4),
    resumed(),
    compared(2),
    candidate(2, evidence=("e5",)),
    gate("pass", 2, evidence="e5"),
    landing(2),
    finished("completed", 2),
    task_started("2"),
    attempt(1, "2"),
    ended("needs_human", 1, "2"),
    asked(1, "2"),
    run_ended("waiting", 3),
    resumed(),
    answered(),
    compared(1, "2"),
    attempt(2, "2"),
    ended("completed", 2, "2"),
    refused(2, "2"),
    finished("failed", None, "2"),
    undone("1"),
    scenario("failed"),
    run_ended("failed"),
)
FACTS = numbered(LONG)


def _value(kind: Any) -> Any:
    """Some value of an annotated type, for one fact of every kind."""
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    simple: dict[Any, Any] = {str: "x", int: 1, float: 1.0, bool: True}
    if kind in simple:
        return simple[kind]
    if isinstance(kind, msgspec.StructMeta):
        return _some(kind)
    if get_origin(kind) is tuple:
        return (_value(get_args(kind)[0]),) if get_args(kind)[0] is not UndoneTask else ()
    return None  # the others may be absent


def _some(kind: Any) -> Any:
    hints = get_type_hints(kind)
    return kind(**{field.name: _value(hints[field.name]) for field in msgspec.structs.fields(kind)})


@pytest.mark.parametrize("kind", sorted(set(BODIES) - {"run_started"}))
def test_every_kind_of_fact_has_its_place(kind: str) -> None:
    before = state_after(*READY, attempt(1))
    (fact,) = numbered([Entry(_some(BODIES[kind]), "1", 1)], first=before.last_n + 1)
    assert advance(before, fact).last_n == fact.n


def test_every_kind_of_body_is_known() -> None:
    assert sorted(BODIES) == sorted(body.kind for body in get_args(Body))
    assert len(BODIES) == len(get_args(Body))


@given(st.integers(min_value=1, max_value=len(FACTS)))
def test_a_state_and_the_rest_of_its_facts_fold_to_the_whole(cut: int) -> None:
    state = fold(FACTS[:cut])
    for fact in FACTS[cut:]:
        state = advance(state, fact)
    assert state == fold(FACTS)
    assert state.last_n == len(FACTS)


TASK_FACTS = (task_started("9"), attempt(1, "9"), finished("completed", 1, "9"), landing(1, "9"))
CANNOT_FOLLOW = {
    "nothing": (),
    "no beginning": (BASE_CHECKED,),
    "a second beginning": (begun(), begun()),
    **{f"{entry.body.kind} of an unknown task": (*READY, entry) for entry in TASK_FACTS},
    "end of an attempt that never began": (*READY, ended("completed", 1)),
    "end of an attempt that is not the last": (*READY, attempt(1), attempt(2), ended("completed", 1)),
    "candidate without an attempt": (*READY, candidate(1)),
    "gate of an earlier attempt": (*READY, attempt(1), attempt(2), gate("pass", 1)),
    "gate before any attempt": (*READY, gate("pass", 1)),
    "comparison of the tree of no attempt": (*READY, compared(1)),
    "undone work of an unknown task": (*READY, undone("9")),
    "attempt fact without a task": (*READY, attempt(1), Entry(ended("failed").body)),
}


@pytest.mark.parametrize("entries", CANNOT_FOLLOW.values(), ids=CANNOT_FOLLOW)
def test_what_cannot_follow_is_refused(entries: tuple[Entry, ...]) -> None:
    with pytest.raises(ValueError):
        state_after(*entries)


def test_the_refusal_names_the_fact() -> None:
    with pytest.raises(ValueError, match=r"fact 5: task_finished"):
        state_after(*READY, finished("completed", 1, "9"))


def test_a_resume_gives_failed_tasks_new_attempts_and_keeps_done_ones() -> None:
    state = state_after(begun("1", "2"), finished(task="1"), finished("failed", task="2"), resumed())
    assert state.tasks["1"].finished is not None
    assert state.tasks["2"].finished is None
    assert state.epoch == 1 and state.end is None and state.ended_at is None


def test_the_options_of_a_resume_count() -> None:
    assert state_after(begun()).options == OPTIONS
    assert state_after(begun(), resumed(guidance="this way")).options.guidance == "this way"


def test_a_gate_that_ran_again_replaces_its_verdict() -> None:
    history = (*READY, attempt(), ended("completed"), candidate(), gate("unavailable"), gate("pass"))
    (only,) = state_after(*history).tasks["1"].attempts[0].gates
    assert only.verdict == "pass"


def test_a_new_candidate_forgets_the_gates_of_the_old_one() -> None:
    first = (*READY, attempt(), ended("completed"), candidate(), gate("fail"))
    state = state_after(*first, resumed(), compared(), candidate(evidence=("e2",)))
    assert state.tasks["1"].attempts[0].gates == ()


@pytest.mark.parametrize(
    ("entries", "given"),
    [
        ((), 0),
        ((attempt(), ended("completed"), candidate(evidence=("e1", "e2", "e3"))), 3),
        ((attempt(), ended("completed"), candidate(), gate_started(), gate("pass")), 1),
        ((gate_started("e1", None, None), gate_started("e2", None, None)), 2),
        ((Entry(NamesReserved(evidence=("e1", "e2"))), gate_started("e1", None, None)), 2),
        ((Entry(NamesReserved(ref="refs/ktrdr/edits/r/9")),), 0),
    ],
    ids=[
        "none",
        "with a candidate",
        "not again with its gate",
        "one by one for the scenario",
        "reserved before they are used",
        "a ref is not evidence",
    ],
)
def test_evidence_ids_are_counted_once(entries: tuple[Entry, ...], given: int) -> None:
    assert state_after(*READY, *entries).evidence_given == given


def test_a_base_run_that_was_interrupted_is_replaced_command_by_command() -> None:
    def checked(gate: str, code: int) -> Entry:
        body = BaseChecked(
            gate=gate,
            command=f"command of {gate}",
            before="red",
            exit_code=code,
            evidence=next(ids),
            seconds=1,
        )
        return Entry(body, "1")

    ids = iter(("e1", "e2", "e3"))
    state = state_after(begun(), checked("verify-1", 1), checked("verify-2", 1), checked("verify-1", 127))
    assert [(check.gate, check.exit_code) for check in (each.check for each in state.base)] == [
        ("verify-2", 1),
        ("verify-1", 127),
    ]
    assert state.evidence_given == 3


def test_an_answer_is_taken_once() -> None:
    state = state_after(
        *READY, attempt(), ended("needs_human"), asked(), answered(text="a"), answered(text="b")
    )
    (question,) = state.questions
    assert question.answer is not None and question.answer.text == "a"
    assert state.open_questions == ()


def test_undone_work_is_pending_again_with_its_attempts_as_history() -> None:
    state = state_after(*READY, attempt(), ended("completed"), finished(), scenario("passed"), undone("1"))
    task = state.tasks["1"]
    assert (task.parent, task.finished, task.landing, task.last) == (None, None, None, None)
    assert [each.number for each in task.attempts] == [1]
    assert state.end_to_end is None


def test_an_undo_stays_open_until_the_work_is_undone() -> None:
    begin_undo = Entry(
        UndoStarted(
            target="base0", expected="c", saved="s", ref="r", tasks=(UndoneTask(task="1", commit="c"),)
        )
    )
    assert state_after(*READY, finished(), begin_undo).undo is not None
    assert state_after(*READY, finished(), begin_undo, undone("1")).undo is None


def test_usage_is_the_sum_over_all_attempts() -> None:
    def used(number: int, tokens: int) -> Entry:
        usage = Usage(input_tokens=tokens, cost_usd=tokens / 4)
        return Entry(AttemptEnded(status="failed", reason=None, exit_code=1, usage=usage), "1", number)

    state = state_after(*READY, attempt(1), used(1, 10), attempt(2), used(2, 6), attempt(3))
    assert state.usage == Usage(input_tokens=16, cost_usd=4.0)


def test_a_request_to_cancel_counts_until_the_run_is_resumed() -> None:
    requested = Entry(CancelRequested())
    assert not state_after(begun()).cancel_requested
    assert state_after(begun(), requested).cancel_requested
    assert not state_after(begun(), requested, resumed()).cancel_requested
    assert state_after(begun(), requested, resumed(), requested).cancel_requested


def test_a_state_is_a_value() -> None:
    state: RunState = begin(FACTS[0])
    assert isinstance(FACTS[0].body, RunStarted)
    later = fold(FACTS)
    assert state.tasks["1"].attempts == () and later.tasks["1"].attempts != ()
