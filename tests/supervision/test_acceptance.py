"""`resume --accept`: which tasks the user can take as done, and the reason where they cannot."""

import pytest
from plan_makers import plan, task
from run_histories import (
    READY,
    Entry,
    attempt,
    begun,
    candidate,
    compared,
    ended,
    finished,
    gate,
    landing,
    refused,
    resumed,
    run_ended,
    state_after,
)

from orchestrator.errors import UsageError
from orchestrator.supervision.acceptance import check_acceptable

PLAN = plan(task("1"))
UNCHANGED = (*READY, attempt(), ended("completed"), candidate(changed=False))
IDLE = (*UNCHANGED, gate("pass"))
FAILED = (finished("failed", None), run_ended("failed"))

REFUSED = {
    "not started": ((begun(),), "1", "it has not been started"),
    "another task": ((*IDLE, *FAILED), "2", "no such task"),
    "a gate failed": ((*UNCHANGED, gate("fail"), *FAILED), "1", "verify-1 failed (e1)"),
    "a gate could not be run": ((*UNCHANGED, gate("unavailable")), "1", "not all of its checks have run"),
    "it changed files": ((*READY, attempt(), ended("completed"), candidate(), gate("pass")), "1", "changed"),
    "it was stopped": ((*READY, attempt(), ended("timed_out")), "1", "were not checked"),
    "the folder cannot be committed": (
        (*READY, attempt(), ended("completed"), refused()),
        "1",
        "not checked",
    ),
    "completed": ((*IDLE, landing(), finished()), "1", "it is completed"),
    "a new attempt since": ((*IDLE, attempt(2)), "1", "attempt 2"),
}
ACCEPTABLE = {
    "it has failed": (*IDLE, *FAILED),
    "it has not failed yet": IDLE,
    "without a check": (*READY, attempt(), ended("completed"), candidate(evidence=(), changed=False)),
    "it says that it failed": (
        (*READY, attempt(), ended("failed"), candidate(changed=False), gate("pass"), *FAILED)
    ),
    "resumed since": (*IDLE, *FAILED, resumed(), compared(), run_ended("parked", 4)),
}


@pytest.mark.parametrize(("entries", "task_id", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_accepted(entries: tuple[Entry, ...], task_id: str, reason: str) -> None:
    with pytest.raises(UsageError, match=f"task {task_id} cannot be accepted: ") as refusal:
        check_acceptable(state_after(*entries), PLAN, [task_id])
    assert reason in refusal.value.what


@pytest.mark.parametrize("entries", ACCEPTABLE.values(), ids=ACCEPTABLE)
def test_what_can_be_accepted(entries: tuple[Entry, ...]) -> None:
    check_acceptable(state_after(*entries), PLAN, ["1"])
