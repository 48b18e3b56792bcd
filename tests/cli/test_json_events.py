"""Facts as events: each kind has the fields that other programs rely on."""

import json
from typing import Any

import pytest
from msgspec.structs import fields
from run_histories import (
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
    gate_started,
    numbered,
    resumed,
    run_ended,
    task_started,
)

from orchestrator.cli.json_events import event_line
from orchestrator.run.facts import BODIES, AgentText, AgentTool

GOLDEN: dict[str, tuple[Entry, dict[str, Any]]] = {
    "run_started": (
        begun(),
        {"plan": "plans/greeting.md", "branch": "milestone/greeting", "base": "base0"},
    ),
    "run_resumed": (resumed(), {}),
    "task_started": (task_started(), {"title": "Title of 1"}),
    "attempt_started": (
        attempt(2),
        {"container": f"ktrdr-coding-agent-{RUN}-1-2", "session": "session of 1"},
    ),
    "agent_text": (Entry(AgentText(text="höre\n[b]"), "1", 1), {"text": "höre\n[b]"}),
    "agent_tool": (
        Entry(AgentTool(name="Bash", summary="ls"), "1", 1),
        {"name": "Bash", "summary": "ls"},
    ),
    "attempt_ended": (
        ended("failed", reason="too hard"),
        {"status": "failed", "reason": "too hard", "exit_code": 0},
    ),
    "gate_started": (gate_started(), {"gate": "verify-1", "command": "make check"}),
    "gate_ended": (
        gate("unavailable"),
        {
            "gate": "verify-1",
            "command": "make check",
            "verdict": "unavailable",
            "exit_code": None,
            "evidence": "e1",
            "seconds": 0.5,
            "source": None,
            "before": None,
            "reused": None,
            "round": 1,
            "flaky": False,
        },
    ),
    "task_finished": (
        finished(),
        {
            "status": "completed",
            "commit": "candidate1.1",
            "verification": None,
            "reason": None,
            "undeclared_files": [],
        },
    ),
    "question_asked": (
        asked(),
        {"question": "q1", "text": "Which?", "options": ["a", "b"], "recommendation": "a"},
    ),
    "question_answered": (answered(), {"question": "q1", "by": "ada", "text": "a"}),
    "run_ended": (
        run_ended("parked", 4),
        {"status": "parked", "exit_code": 4, "reason": "because", "until": None, "cause": None},
    ),
    "candidate_made": (candidate(), {"commit": "candidate1.1", "changed": True, "by_hand": False}),
}


@pytest.mark.parametrize(("entry", "shown"), GOLDEN.values(), ids=GOLDEN)
def test_an_event(entry: Entry, shown: dict[str, Any]) -> None:
    (fact,) = numbered([entry], first=7)
    line = event_line(fact)
    assert "\n" not in line
    assert json.loads(line) == {
        "schema": 1,
        "n": 7,
        "at": "2025-01-01T00:00:07.000Z",
        "run": RUN,
        "task": entry.task,
        "attempt": entry.attempt,
        "kind": entry.body.kind,
        **shown,
    }


def test_no_field_of_a_fact_hides_one_of_the_head() -> None:
    head = {"schema", "n", "at", "run", "task", "attempt", "kind"}
    for kind, body in BODIES.items():
        assert not head & {field.name for field in fields(body)}, kind
