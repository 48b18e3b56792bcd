"""The output of `--json`, which other programs rely on."""

import json
import re
from typing import Any

import pytest
from e2e_kit import AGENT, REPORT, Scene, plan, task
from greeting_run import GreetingRun

pytestmark = pytest.mark.docker

HEAD = {"schema", "n", "at", "run", "task", "attempt", "kind"}
FIELDS = {
    "run_started": {"plan", "branch", "base"},
    "run_resumed": set(),
    "task_started": {"title"},
    "attempt_started": {"container", "session"},
    "agent_text": {"text"},
    "agent_tool": {"name", "summary"},
    "attempt_ended": {"status", "reason", "exit_code"},
    "gate_started": {"gate", "command"},
    "gate_ended": {
        "gate",
        "command",
        "verdict",
        "exit_code",
        "evidence",
        "seconds",
        "source",
        "before",
        "reused",
    },
    "task_finished": {"status", "commit", "verification"},
    "question_asked": {"question", "text", "options", "recommendation"},
    "question_answered": {"question", "by", "text"},
    "run_ended": {"status", "exit_code", "reason", "until", "cause"},
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
RUN = {
    *(
        "run",
        "plan",
        "title",
        "folder",
        "branch",
        "base",
        "status",
        "exit_code",
        "reason",
        "until",
        "cause",
        "started",
    ),
    *("ended", "owner", "tasks", "e2e", "questions", "usage", "budget_usd", "unverified"),
}
TASK = {"task", "title", "type", "status", "commit", "verification", "evidence", "attempts"}
ATTEMPT = {
    *("attempt", "status", "reason", "container", "session", "exit_code", "started", "ended", "usage"),
    *("adopted", "failure"),
}
QUESTION = {"question", "task", "text", "options", "recommendation", "asked", "deadline", "answer"}
USAGE = {"input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens", "cost_usd"}

ASKING = f"""{REPORT}
if test "$ORCHESTRATOR_ATTEMPT" = 1; then
    echo '{{"status": "needs_human", "question": "Which?", "options": ["a", "b"]}}' > "$ORCHESTRATOR_OUTCOME"
else
    echo made > made.txt; report completed
fi
"""


def check_events(events: list[dict[str, Any]]) -> None:
    for event in events:
        missing = (HEAD | FIELDS.get(event["kind"], set())) - set(event)
        assert not missing, (event["kind"], missing)
        assert event["schema"] == 1
        assert TIME.fullmatch(event["at"]), event["at"]


@pytest.fixture(scope="module")
def asked(new_module_scene: Any) -> tuple[Scene, list[dict[str, Any]], list[dict[str, Any]]]:
    """A run that asks, and its events before and after the answer."""
    scene = new_module_scene()
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh=ASKING)
    first = scene.run(*AGENT)
    assert first.exit_code == 3, first
    second = scene.orchestrator("resume", "--json", "-g", "a")
    assert second.exit_code == 0, second
    return scene, first.events, second.events


def test_every_event_has_the_fields_of_its_kind(greeting: GreetingRun) -> None:
    check_events(greeting.done.events)


def test_a_run_passes_through_the_kinds_in_order(greeting: GreetingRun) -> None:
    kinds = [event["kind"] for event in greeting.done.events]
    of_task = ["task_started", "attempt_started", "agent_tool", "attempt_ended", "gate_started", "gate_ended"]
    wanted = iter(
        ["run_started", *[*of_task, "task_finished"] * 3, "gate_started", "gate_ended", "run_ended"]
    )
    expected = next(wanted)
    for kind in kinds:
        if kind == expected:
            expected = next(wanted, "")
    assert expected == "" and kinds[-1] == "run_ended"


def test_watch_gives_the_events_that_the_run_has_printed(greeting: GreetingRun) -> None:
    scene, run = greeting.scene, greeting.done.run
    assert scene.orchestrator("watch", run, "--json").stdout == greeting.done.stdout
    shown = scene.orchestrator("watch", "plan.md", "--exit-status")
    assert (shown.exit_code, shown.err) == (0, "") and shown.out.splitlines()[-1].startswith("next: git diff")


def test_numbers_ascend_over_a_resume(asked: tuple[Scene, Any, Any]) -> None:
    _, first, second = asked
    check_events([*first, *second])
    numbers = [event["n"] for event in (*first, *second)]
    assert numbers == sorted(set(numbers))
    assert second[0]["kind"] == "run_resumed"
    assert len({event["run"] for event in (*first, *second)}) == 1


def test_a_question_and_its_answer_are_events_and_status(asked: tuple[Scene, Any, Any]) -> None:
    scene, first, second = asked
    (question,) = [event for event in first if event["kind"] == "question_asked"]
    assert (question["text"], question["options"], question["recommendation"]) == ("Which?", ["a", "b"], None)
    (answered,) = [event for event in second if event["kind"] == "question_answered"]
    assert (answered["question"], answered["text"]) == (question["question"], "a")
    (stored,) = scene.status(first[0]["run"])["questions"]
    assert set(stored) >= QUESTION
    assert (stored["question"], stored["task"], stored["text"]) == (question["question"], "1", "Which?")
    assert set(stored["answer"]) == {"text", "by", "at"} and stored["answer"]["text"] == "a"


def test_status_has_every_field(greeting: GreetingRun) -> None:
    run = greeting.status
    assert set(run) >= RUN
    assert set(run["usage"]) >= USAGE and run["usage"]["input_tokens"] > 0
    assert set(run["e2e"]) >= {"status", "evidence"}
    for shown in run["tasks"]:
        assert set(shown) >= TASK
        for attempt in shown["attempts"]:
            assert set(attempt) >= ATTEMPT and set(attempt["usage"]) >= USAGE
            assert TIME.fullmatch(attempt["started"]) and TIME.fullmatch(attempt["ended"])


def test_status_shows_the_result_of_a_run(greeting: GreetingRun) -> None:
    run = greeting.status
    assert (run["run"], run["plan"], run["branch"]) == (greeting.done.run, "plan.md", "feature/greeting")
    assert (run["folder"], run["base"]) == (str(greeting.scene.folder), greeting.base)
    assert (run["exit_code"], run["reason"], run["owner"], run["budget_usd"]) == (0, None, None, None)
    assert [(t["type"], t["status"], t["verification"]) for t in run["tasks"]] == [
        ("CODING", "completed", "verified"),
        ("CODING", "completed", "verified"),
        ("VALIDATION", "completed", "verified"),
    ]


def test_status_lists_runs_and_knows_prefix_and_plan(greeting: GreetingRun) -> None:
    scene = greeting.scene
    listed = json.loads(scene.orchestrator("status", "--json").stdout)
    assert [run["run"] for run in listed["runs"]] == [greeting.done.run]
    for wanted in (greeting.done.run[:7], "plan.md"):
        assert scene.status(wanted)["run"] == greeting.done.run


def test_status_without_a_run_is_an_empty_list(scene: Scene) -> None:
    done = scene.orchestrator("status", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"schema": 1, "runs": []})


def test_an_unknown_run_is_refused(scene: Scene) -> None:
    for command in ("status", "resume"):
        done = scene.orchestrator(command, "no-such-run", "--json")
        assert (done.exit_code, done.stdout) == (2, b""), done


def test_logs_are_a_line_of_json_each(greeting: GreetingRun) -> None:
    done = greeting.scene.orchestrator("logs", greeting.done.run, "--task", "1.1", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines
    for line in lines:
        assert set(line) >= {"schema", "run", "task", "attempt", "stream", "text"}
        assert (line["task"], line["attempt"]) == ("1.1", 1)
        assert line["stream"] in ("stdout", "stderr")


def test_with_json_the_text_for_the_user_is_on_stderr(greeting: GreetingRun) -> None:
    assert "completed" in greeting.done.err
    assert greeting.done.run in greeting.done.err
