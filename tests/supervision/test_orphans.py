"""The decision about an attempt without a recorded end: every row of the table, and between rows."""

from itertools import product

import pytest
from msgspec.structs import replace

from orchestrator.run.facts import AttemptEnded, AttemptStarted, ContainerCreated, LimitSeen, StopBegun
from orchestrator.run.state import AttemptState
from orchestrator.supervision.orphans import (
    Adopt,
    AnsweringEngine,
    AskOtherEngine,
    BeginAgain,
    FinishStop,
    Liveness,
    RecordRemoved,
    Recovery,
    Remove,
    StartUntouched,
    StopInOrder,
    StopLimited,
    TakeResult,
    choose_recovery,
)

HERE = AnsweringEngine("one", "unix:///one.sock")
CREATED = ContainerCreated(id="c1", engine="one", endpoint="unix:///one.sock")
START = AttemptStarted(
    container="ktrdr-1", session="s", resumed=False, parent="p", folder="f", agent="nop", limit_seconds=60
)
ANNOUNCED = AttemptState(number=1, epoch=0, started="t", start=START)
MADE = replace(ANNOUNCED, created=CREATED)
BEGUN = replace(MADE, has_begun=True)
STOPPED = replace(BEGUN, stop=StopBegun(why="cancelled", seen=""))
ENDED = replace(STOPPED, end=AttemptEnded(status="completed", reason=None, exit_code=0))
OLD = replace(ANNOUNCED, start=replace(START, agent="", limit_seconds=None))
SPENT = LimitSeen(cause="usage_limit", effect="stop", status=429)
AWAY = LimitSeen(cause="model_away", effect="outage")
DENIED = LimitSeen(cause="credential_refused", effect="end", status=401)
LIVENESS: tuple[Liveness, ...] = ("absent", "created", "alive", "ended")


@pytest.mark.parametrize(
    ("attempt", "liveness", "expected"),
    [
        (ANNOUNCED, "absent", BeginAgain()),
        (ANNOUNCED, "created", StartUntouched()),
        # A user can start a container by hand: its agent is at work then, as if we had started it.
        (ANNOUNCED, "alive", Adopt()),
        (ANNOUNCED, "ended", TakeResult()),
        *((state, "created", StartUntouched()) for state in (MADE, BEGUN)),
        *((state, "alive", Adopt()) for state in (MADE, BEGUN)),
        *((state, "ended", TakeResult()) for state in (MADE, BEGUN)),
        *((replace(BEGUN, limits=(limit,)), "alive", StopLimited()) for limit in (SPENT, AWAY)),
        *((replace(BEGUN, limits=(limit,)), "ended", TakeResult()) for limit in (SPENT, DENIED)),
        (replace(BEGUN, limits=(DENIED,)), "alive", Adopt()),
        *((state, "absent", RecordRemoved()) for state in (MADE, BEGUN)),
        *((STOPPED, liveness, FinishStop()) for liveness in LIVENESS),
        *((ENDED, liveness, Remove()) for liveness in LIVENESS),
        *((OLD, liveness, StopInOrder()) for liveness in LIVENESS),
    ],
)
def test_every_row(attempt: AttemptState, liveness: Liveness, expected: Recovery) -> None:
    assert choose_recovery(attempt, liveness, HERE) == expected


@pytest.mark.parametrize(("attempt", "liveness"), list(product((MADE, BEGUN, STOPPED), LIVENESS)))
def test_while_another_engine_answers_nothing_is_done(attempt: AttemptState, liveness: Liveness) -> None:
    other = AnsweringEngine("two", HERE.endpoint)
    assert choose_recovery(attempt, liveness, other) == AskOtherEngine(CREATED)


@pytest.mark.parametrize(
    ("made_by", "answers", "is_same"),
    [
        (("one", "unix:///a"), ("one", "unix:///b"), True),
        (("one", "unix:///a"), ("two", "unix:///a"), False),
        (("", "unix:///a"), ("", "unix:///a"), True),
        (("", "unix:///a"), ("", "unix:///b"), False),
        (("one", "unix:///a"), ("", "unix:///a"), True),
        (("", "unix:///a"), ("two", "unix:///b"), False),
    ],
    ids=["moved", "replaced", "no id", "elsewhere", "lost its id", "got an id elsewhere"],
)
def test_engines_are_distinguished_by_id_else_by_endpoint(
    made_by: tuple[str, str], answers: tuple[str, str], is_same: bool
) -> None:
    created = ContainerCreated(id="c", engine=made_by[0], endpoint=made_by[1])
    found = choose_recovery(replace(BEGUN, created=created), "alive", AnsweringEngine(*answers))
    assert found == (Adopt() if is_same else AskOtherEngine(created))


def test_an_ended_attempt_does_not_care_which_engine_answers() -> None:
    assert choose_recovery(ENDED, "absent", AnsweringEngine("two", "elsewhere")) == Remove()
