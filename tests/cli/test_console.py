"""Lines for the user: every kind of fact has its words, and agents' text stays text."""

import re
from datetime import timedelta, timezone
from typing import Any, get_args

import pytest
from msgspec.structs import fields, replace
from run_histories import (
    READY,
    RUN,
    Entry,
    asked,
    attempt,
    begun,
    candidate,
    compared,
    ended,
    finished,
    gate,
    gate_started,
    numbered,
    refused,
    resumed,
    run_ended,
    state_after,
    task_started,
    undone,
)

from orchestrator.cli.console import Console
from orchestrator.cli.fact_lines import lines
from orchestrator.run.facts import (
    AgentText,
    AgentTool,
    AttemptEnded,
    BaseChecked,
    EditsCommitted,
    LandingRefused,
    Notice,
    PlanTaken,
    QuestionAnswered,
    RunEnded,
    RunOptions,
    RunResumed,
    RunWaiting,
    Sleep,
    StillRunning,
    TaskFinished,
)
from orchestrator.run.state import RunState

CET = timezone(timedelta(hours=1), "CET")


def said(entry: Entry) -> list[str]:
    (fact,) = numbered([entry])
    return lines(fact, zone=CET)


def red(gate: str) -> Entry:
    body = BaseChecked(gate=gate, command="x", before="red", exit_code=1, evidence="e1", seconds=1)
    return Entry(body, "1")


WORDS = {
    "red": (red("verify-1"), ["base    task 1: verify-1 fails before the work, as expected"]),
    "a build": (
        red("build-1"),
        ["base    task 1: build-1 already fails on the base commit; fix it first unless that is the task"],
    ),
    "run": (
        begun(),
        [
            f"run {RUN}: A greeting (plans/greeting.md)",
            "branch milestone/greeting, from base0, agent nop",
            "started 2025-01-01 01:00 CET",
        ],
    ),
    "what pays": (
        Entry(RunResumed(options=RunOptions(agent="nop"), billing="subscription")),
        [
            f"run {RUN} resumed 2025-01-01 01:00 CET",
            "billing subscription: the limits of your plan apply",
        ],
    ),
    "resumed": (resumed(), [f"run {RUN} resumed 2025-01-01 01:00 CET"]),
    "an edited plan": (
        Entry(PlanTaken(plan_title="P", tasks=(), end_to_end=False, stored="p", redo=("1",))),
        ["plan    the edited version is used, 0 tasks, to be done again: 1"],
    ),
    "task": (task_started(), ["task    1: Title of 1"]),
    "attempt": (attempt(), [f"attempt 1/1 in ktrdr-coding-agent-{RUN}-1-1 (new session)"]),
    "attempt, again": (attempt(2), [f"attempt 1/2 in ktrdr-coding-agent-{RUN}-1-2 (session resumed)"]),
    "its end": (ended("needs_human", reason="Which?"), ["attempt 1/1 needs human: Which?"]),
    "tool": (Entry(AgentTool(name="Bash", summary="ls"), "1", 1), ["  does  Bash: ls"]),
    "a heartbeat": (
        Entry(StillRunning(what="verify-1", seconds=10.2, text="a\tb")),
        ["  runs  verify-1, 10 s: a b"],
    ),
    "a heartbeat without output": (
        Entry(StillRunning(what="setup", seconds=5, text="")),
        ["  runs  setup, 5 s"],
    ),
    "text": (Entry(AgentText(text="one\ntwo"), "1", 1), ["  says  one two"]),
    "candidate": (candidate(), ["candidate candidate1.1"]),
    "unchanged": (candidate(changed=False), ["candidate candidate1.1, nothing changed"]),
    "refused": (refused(), ["refused git takes no file of mode 000: secret"]),
    "gate": (gate_started(), ["gate    verify-1: make check"]),
    "gate passed": (gate("pass"), ["gate    verify-1: pass, 0.5 s, evidence e1"]),
    "gate failed": (
        gate("fail", tail="1\n2\n3\n4\n5\n6\n"),
        [
            "gate    verify-1: fail, 0.5 s, evidence e1, exit code 2",
            *(f"        | {number}" for number in "23456"),
        ],
    ),
    "gate without a verdict": (
        gate("unavailable", tail="", detail="the engine\ncould not start it"),
        [
            "gate    verify-1: unavailable, 0.5 s, evidence e1",
            "        | the engine",
            "        | could not start it",
        ],
    ),
    "edited": (compared(edited=("a", "b", "c", "d", "e")), ["edited  by you: a, b, c and 2 more"]),
    "not edited": (compared(), []),
    "finished": (finished(), ["task    1 completed as candidate1.1"]),
    "failed": (finished("failed"), ["task    1 failed: no more attempts"]),
    "question": (
        asked(),
        [
            "question q1 of task 1:",
            "        Which?",
            "        1. a",
            "        2. b",
            "        recommended: a",
        ],
    ),
    "undone": (undone("1"), ["task    1 undone, its commit was c"]),
    "ended": (run_ended("failed"), [f"run {RUN} failed: because"]),
}


@pytest.mark.parametrize(("entry", "expected"), WORDS.values(), ids=WORDS)
def test_the_words_of_a_fact(entry: Entry, expected: list[str]) -> None:
    assert said(entry) == expected


def shown(*history: Entry, state: RunState | None = None, first: int = 1) -> list[str]:
    """The lines that a console writes of these facts; with a state, of facts that follow it."""
    written: list[str] = []
    console = Console(written.append, state_of=lambda run: state, zone=CET)
    for fact in numbered(history, first=first):
        console(fact)
    return written


def test_the_end_of_a_run_says_its_reason_and_what_to_do_as_sentences() -> None:
    end = RunEnded(status="parked", exit_code=4, reason="HEAD has moved\nStart a new run: run --new")
    (line,) = said(Entry(end))[:1]
    assert line.endswith("parked: HEAD has moved. Start a new run: run --new")


def test_every_line_begins_with_the_local_time() -> None:
    written = shown(*READY)
    assert written[0].startswith("01:00:01  run ")
    assert all(re.match(r"01:00:0\d  \S", line) for line in written)


PASSED = (attempt(), ended("completed"), candidate(), gate("pass"), finished())


def test_a_line_says_which_task_of_how_many_and_how_long_it_took() -> None:
    begun_ = (begun("0", "1", "2"), Entry(TaskFinished(status="skipped"), "0"), task_started())
    written = shown(*begun_, *PASSED, run_ended("parked"))
    assert [line[10:] for line in written[4:]] == [
        "task    1 (1 of 2): Title of 1",
        f"attempt 1/1 in ktrdr-coding-agent-{RUN}-1-1 (new session)",
        "attempt 1/1 completed after 1.0 s",
        "candidate candidate1.1",
        "gate    verify-1: pass, 0.5 s, evidence e1",
        "task    1 completed as candidate1.1 in 4.0 s, 1 of 2 tasks done",
        f"run {RUN} parked after 8.0 s: because",
    ]


def test_files_that_the_plan_does_not_name_stand_below_their_task() -> None:
    paths = ("a b.py", "\x1b[31mred.py", *(f"{number}.py" for number in range(10)))
    body = TaskFinished(status="completed", commit="c1", undeclared_files=paths)
    written = shown(*READY, attempt(), Entry(body, "1", 1))
    assert written[-1][10:] == (
        "        it also changed files that its plan does not name: "
        "a b.py, red.py, 0.py, 1.py, 2.py and 7 more"
    )


def test_a_resumed_run_knows_its_earlier_facts() -> None:
    before = (begun("1", "2"), task_started(), *PASSED, run_ended("interrupted"))
    after = (resumed(), task_started("2"), attempt(1, "2"), ended("completed", 1, "2"))
    whole = (*before, *after)
    # The stored state has the first facts of the resume already when the listener gets them.
    written = shown(*after, state=state_after(*whole[: len(before) + 2]), first=len(before) + 1)
    assert [line[10:] for line in written] == [
        f"run {RUN} resumed 2025-01-01 01:00 CET, 1 of 2 tasks done",
        "task    2 (2 of 2): Title of 2",
        f"attempt 2/1 in ktrdr-coding-agent-{RUN}-2-1 (new session)",
        "attempt 2/1 completed after 1.0 s",
    ]


def test_without_the_earlier_facts_a_line_says_less() -> None:
    assert [line[10:] for line in shown(resumed(), task_started(), attempt(), ended("failed"))] == [
        f"run {RUN} resumed 2025-01-01 01:00 CET",
        "task    1: Title of 1",
        f"attempt 1/1 in ktrdr-coding-agent-{RUN}-1-1 (new session)",
        "attempt 1/1 failed",
    ]


def test_an_attempt_without_an_outcome_shows_the_end_of_standard_error() -> None:
    body = AttemptEnded(
        status="failed", reason="no outcome", exit_code=1, stderr_tail="1\n2\n3\n4\n5\n\x1b[31mno key\n"
    )
    assert said(Entry(body, "1", 1)) == [
        "attempt 1/1 failed: no outcome",
        *(f"        | {line}" for line in ("2", "3", "4", "5", "no key")),
    ]


HOSTILE = "\x1b[2J\x1b]0;x\x07[bold red]/workspace/a.py[/]\r\n\x9b1A\u202e\ud800"
FOREIGN: list[tuple[Entry, tuple[str, ...]]] = [
    (Entry(AgentText(text=HOSTILE), "1", 1), ("text",)),
    (Entry(AgentTool(name=HOSTILE, summary=HOSTILE), "1", 1), ("name", "summary")),
    (ended("failed", reason=HOSTILE), ("reason",)),
    (candidate(), ("left_out", "moved_away")),
    (refused(), ("reason",)),
    (gate_started(), ("command",)),
    (gate("fail", tail=HOSTILE), ("tail",)),
    (finished("failed"), ("reason",)),
    (asked(), ("text", "options", "recommendation")),
    (Entry(QuestionAnswered(question="q1", by="x", text="x")), ("by", "text")),
    (compared(edited=("x",)), ("edited",)),
    (Entry(StillRunning(what="setup", seconds=5, text=HOSTILE)), ("text",)),
    (Entry(EditsCommitted(commit="c", paths=("x",)), "1"), ("paths",)),
    (Entry(LandingRefused(reason="x"), "1", 1), ("reason",)),
    (Entry(Notice(text="x")), ("text",)),
    (run_ended("failed"), ("reason",)),
    (begun(), ("plan", "plan_title")),
    (task_started(), ("title",)),
    (
        Entry(BaseChecked(gate="g", command="x", before="red", exit_code=1, evidence="e", seconds=1), "1"),
        ("command",),
    ),
]


@pytest.mark.parametrize(("entry", "names"), FOREIGN, ids=[entry.body.kind for entry, _ in FOREIGN])
def test_foreign_text_is_inert(entry: Entry, names: tuple[str, ...]) -> None:
    kinds = {field.name: field.type for field in fields(entry.body)}
    changes: dict[str, Any] = {name: (HOSTILE,) if "tuple" in str(kinds[name]) else HOSTILE for name in names}
    found = said(Entry(replace(entry.body, **changes), entry.task, entry.attempt))
    for line in found:
        line.encode("utf-8")
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", line), line
    shown = any("[bold red]/workspace/a.py[/]" in line for line in found)
    assert shown or entry.body.kind == "base_checked"


def test_a_fact_is_few_lines_however_much_is_in_it() -> None:
    assert len(said(gate("fail", tail="x\n" * 10_000))) == 6
    assert all(len(line) < 500 for line in said(gate("fail", tail="x" * 100_000)))
    assert len(said(Entry(AgentText(text="x\n" * 10_000), "1", 1))) == 1


@pytest.mark.parametrize("sleep", get_args(Sleep))
def test_a_wait_says_until_when_and_whether_the_machine_is_kept_awake(sleep: Sleep) -> None:
    waiting = RunWaiting(
        cause="usage_limit", reason="task 1: a limit", until="2025-01-01T06:00:00.000Z", sleep=sleep
    )
    line, about_sleep = said(Entry(waiting))
    assert line == "waits   until 2025-01-01 07:00 CET: task 1: a limit"
    assert ("kept awake until then" in about_sleep) == (sleep == "kept_awake")
    assert ("may sleep" in about_sleep) == (sleep != "kept_awake")


def test_a_wait_of_an_earlier_version_does_not_say_whether_the_machine_sleeps() -> None:
    assert said(Entry(RunWaiting(cause="question", reason=None, until=None))) == [
        "waits   until its question is answered"
    ]
