"""How long a run waits for itself: a table, and its limits."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from orchestrator.run.endings import run_ended_fact
from orchestrator.run.facts import RunCause
from orchestrator.supervision.waiting import PastWaits, WaitPlan, plan_wait

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def plan(
    cause: RunCause, seconds: float | None = None, waits: PastWaits | None = None, *, jitter: float = 0.0
) -> WaitPlan | None:
    until = None if seconds is None else (NOW + timedelta(seconds=seconds)).isoformat()
    end = run_ended_fact("waiting" if cause == "question" else "parked", "because", until, cause)
    return plan_wait(end, waits or PastWaits(), now=NOW, successes=0, jitter=jitter)


def pause(planned: WaitPlan | None) -> float:
    assert planned is not None and planned.until is not None
    return (planned.until - NOW).total_seconds()


def jittered(planned: WaitPlan | None) -> float:
    assert planned is not None and planned.continues is not None
    return (planned.continues - NOW).total_seconds()


@pytest.mark.parametrize("cause", ["usage_limit", "rate_limit", "model_away", "engine_away", "scheduled"])
def test_the_known_time_is_waited_for(cause: RunCause) -> None:
    assert pause(plan(cause, 18_000)) == 18_000
    assert pause(plan(cause, -5)) == 0


@pytest.mark.parametrize("cause", ["usage_limit", "rate_limit", "model_away", "engine_away"])
def test_runs_do_not_all_continue_at_once(cause: RunCause) -> None:
    planned = plan(cause, 18_000, jitter=0.5)
    assert (pause(planned), jittered(planned)) == (18_000, 18_030)
    assert jittered(plan(cause, 18_000, jitter=1)) == 18_060
    assert jittered(plan(cause, 20, jitter=1)) == 40  # never longer than the wait itself


def test_what_is_only_this_runs_is_not_delayed_further() -> None:
    assert jittered(plan("scheduled", 18_000, jitter=1)) == 18_000
    assert jittered(plan("disk_full", jitter=1)) == 60


def test_without_a_time_each_wait_is_twice_as_long_up_to_half_an_hour() -> None:
    waits, pauses = PastWaits(), []
    for _ in range(7):
        planned = plan("model_away", waits=waits)
        assert planned is not None
        waits = planned.waits
        pauses.append(pause(planned) / 60)
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_a_success_resets_the_pauses() -> None:
    end = run_ended_fact("parked", "because", None, "model_away")
    waits = PastWaits(repeated=5, successes=1)
    assert pause(plan_wait(end, waits, now=NOW, successes=1, jitter=0)) == 1800
    assert pause(plan_wait(end, waits, now=NOW, successes=2, jitter=0)) == 60


def test_a_limit_that_is_met_again_at_its_reset_is_not_asked_about_without_a_pause() -> None:
    assert pause(plan("usage_limit", 0, PastWaits(repeated=2))) == 240
    assert pause(plan("usage_limit", 18_000, PastWaits(repeated=2))) == 18_000


@pytest.mark.parametrize("cause", ["disk_full", "gate_unavailable"])
def test_what_may_not_pass_by_itself_is_waited_for_an_hour_at_most(cause: RunCause) -> None:
    waits, total = PastWaits(), 0.0
    while (planned := plan(cause, waits=waits)) is not None:
        waits, total = planned.waits, total + pause(planned)
    assert total == 3600 and plan("usage_limit", waits=waits) is not None
    assert plan(cause, waits=replace(waits, short_seconds=0)) is not None


def test_a_question_is_waited_for_until_it_is_answered() -> None:
    planned = plan("question")
    assert planned is not None and planned.until is None


@pytest.mark.parametrize("cause", ["until", "credential_refused", "billing", "image_missing", "task_failed"])
def test_any_other_cause_ends_the_run(cause: RunCause) -> None:
    assert plan(cause, 60) is None
