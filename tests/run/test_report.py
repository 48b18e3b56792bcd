"""A run as `status --json` shows it: every field of the contract, by the state."""

from typing import Any

import pytest
from run_histories import (
    READY,
    RUN,
    Entry,
    answered,
    asked,
    attempt,
    begun,
    candidate,
    ended,
    finished,
    gate,
    refused,
    resumed,
    run_ended,
    scenario,
    state_after,
    undone,
)

from orchestrator.events import Usage
from orchestrator.run.facts import AttemptEnded, RunEnded
from orchestrator.run.report import Owner, report_of, run_json, run_status, task_status

OWNER = Owner(pid=17, host="here", since="2025-01-01T00:00:00.000Z")
USAGE = {"input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens", "cost_usd"}
RUN_FIELDS = {
    *("run", "plan", "title", "folder", "branch", "base", "status", "exit_code", "reason", "until"),
    *("cause", "started", "ended", "owner", "tasks", "e2e", "questions", "usage", "budget_usd", "billing"),
    *("unverified", "windows"),
}
TASK_FIELDS = {"task", "title", "type", "status", "commit", "verification", "evidence", "attempts"}
ATTEMPT_FIELDS = {
    *("attempt", "status", "reason", "container", "session", "exit_code", "started", "ended", "usage"),
    *("adopted", "failure"),
}
QUESTION_FIELDS = {"question", "task", "text", "options", "recommendation", "asked", "deadline", "answer"}
ASKED = (*READY, attempt(), ended("needs_human"), asked())
WHOLE = (*READY, attempt(), ended("completed"), candidate(), gate("pass"), finished(), scenario("passed"))


def shown(*entries: Entry, owner: Owner | None = None) -> dict[str, Any]:
    return run_json(state_after(*entries), owner)


@pytest.mark.parametrize(
    "entries",
    [(begun(),), READY, ASKED, (*ASKED, answered()), (*WHOLE, run_ended("completed", 0))],
    ids=["begun", "task started", "asked", "answered", "over"],
)
def test_no_field_is_ever_missing(entries: tuple[Entry, ...]) -> None:
    run = shown(*entries)
    assert set(run) == RUN_FIELDS and set(run["usage"]) == USAGE
    for task in run["tasks"]:
        assert set(task) == TASK_FIELDS
        for each in task["attempts"]:
            assert set(each) == ATTEMPT_FIELDS and set(each["usage"]) == USAGE
    for question in run["questions"]:
        assert set(question) == QUESTION_FIELDS
        assert question["answer"] is None or set(question["answer"]) == {"text", "by", "at"}


RUN_STATUS = {
    "with a living owner": (READY, OWNER, "running"),
    "its owner is gone": (READY, None, "interrupted"),
    "waiting": ((*ASKED, run_ended("waiting", 3)), None, "waiting"),
    "ended, and its owner not yet gone": ((*READY, run_ended("failed")), OWNER, "failed"),
    "resumed": ((*READY, run_ended("failed"), resumed()), OWNER, "running"),
    "resumed, and killed": ((*READY, run_ended("failed"), resumed()), None, "interrupted"),
}


@pytest.mark.parametrize(("entries", "owner", "expected"), RUN_STATUS.values(), ids=RUN_STATUS)
def test_the_status_of_a_run(entries: tuple[Entry, ...], owner: Owner | None, expected: str) -> None:
    assert run_status(state_after(*entries), owner) == expected
    assert shown(*entries, owner=owner)["status"] == expected


TASK_STATUS = {
    "not begun": ((begun(),), "pending"),
    "begun": ((*READY, attempt()), "running"),
    "asking": (ASKED, "waiting"),
    "answered": ((*ASKED, answered()), "running"),
    "begun, and the run has ended": ((*READY, attempt(), run_ended("parked", 4)), "pending"),
    "asking, and the run has ended": ((*ASKED, run_ended("waiting", 3)), "waiting"),
    "completed": (WHOLE, "completed"),
    "failed": ((*READY, finished("failed")), "failed"),
    "skipped": ((begun(), finished("skipped", None)), "skipped"),
    "imported": ((begun(), finished("imported", None)), "imported"),
    "undone": ((*WHOLE, undone("1")), "pending"),
}


@pytest.mark.parametrize(("entries", "expected"), TASK_STATUS.values(), ids=TASK_STATUS)
def test_the_status_of_a_task(entries: tuple[Entry, ...], expected: str) -> None:
    state = state_after(*entries)
    assert task_status(state, state.tasks["1"]) == expected


def test_a_finished_run_is_shown_with_commit_evidence_and_scenario() -> None:
    run = shown(*WHOLE, run_ended("completed", 0))
    (task,) = run["tasks"]
    assert (task["status"], task["commit"], task["evidence"]) == ("completed", "candidate1.1", ["e1"])
    assert run["e2e"] == {"status": "passed", "evidence": ["e9"]}
    assert (run["exit_code"], run["reason"]) == (0, "because")
    assert run["started"] < run["ended"]
    (only,) = task["attempts"]
    assert (only["attempt"], only["status"], only["container"]) == (
        1,
        "completed",
        f"ktrdr-coding-agent-{RUN}-1-1",
    )


def test_an_owner_is_shown() -> None:
    assert shown(*READY, owner=OWNER)["owner"] == {"pid": 17, "host": "here", "since": OWNER.since}


REASONS = {
    "its own": ((attempt(), ended("failed", reason="too hard")), "too hard"),
    "the folder": ((attempt(), ended("completed"), refused()), "git takes no file of mode 000: secret"),
    "its gates": (
        (attempt(), ended("completed"), candidate(), gate("fail")),
        "verify-1 failed (e1)",
    ),
    "none": ((attempt(), ended("completed"), candidate(), gate("pass")), None),
    "not over": ((attempt(),), None),
}


@pytest.mark.parametrize(("entries", "expected"), REASONS.values(), ids=REASONS)
def test_the_reason_of_an_attempt(entries: tuple[Entry, ...], expected: str | None) -> None:
    assert shown(*READY, *entries)["tasks"][0]["attempts"][0]["reason"] == expected


def test_usage_is_shown_by_attempt_and_in_sum() -> None:
    usage = Usage(input_tokens=5, cost_usd=0.25)
    body = AttemptEnded(status="failed", reason=None, exit_code=1, usage=usage)
    run = shown(*READY, attempt(1), Entry(body, "1", 1), attempt(2), Entry(body, "1", 2))
    assert run["usage"]["input_tokens"] == 10 and run["usage"]["cost_usd"] == 0.5
    assert run["tasks"][0]["attempts"][1]["usage"]["input_tokens"] == 5


def test_the_report_of_a_run_says_how_it_ended() -> None:
    report = report_of(state_after(*READY, run_ended("parked", 4)))
    assert (report.run, report.status, report.exit_code, report.reason) == (RUN, "parked", 4, "because")


def test_a_run_says_why_it_ended_as_one_word() -> None:
    end = Entry(RunEnded(status="parked", exit_code=4, reason="r", cause="landing_refused"))
    assert shown(*READY, end)["cause"] == "landing_refused"
    assert shown(*READY)["cause"] is None
