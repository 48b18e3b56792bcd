"""Whole sessions at a terminal, and every command that a last line asks the user to type.

The files in `sessions/` are what a user sees: read them as one when they change. `KTRDR_WRITE_SESSIONS=1`
writes them again.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from night_kit import NIGHT, list_shown, night_plan
from night_kit import STORED as STORED_NIGHT
from sessions import Session, blur

from orchestrator.clock import Clock
from orchestrator.files import measure_folder
from orchestrator.testing.agent import (
    ScriptedAgent,
    Step,
    exits,
    hits_limit,
    reports,
    says,
    waits,
    writes,
)
from orchestrator.testing.processes import Process, Program
from orchestrator.testing.project import TemporaryProject, file_exists
from orchestrator.text import describe_size

STORED = Path(__file__).parent / "sessions"
ROOT = Path(__file__).parents[2]
WRITE = "KTRDR_WRITE_SESSIONS" in os.environ

PLAN = """\
# Milestone 1: A greeting

**Branch:** `greeting`

## Task 1.1: Write the greeting
**Type:** CODING
**Description:**
`greeting.txt` greets the world.
**Acceptance Criteria:**
- [ ] it says hello
**Verify:**
```bash
grep -q Hello greeting.txt
```

## Task 1.2: Greet by name
**Type:** CODING
**Description:**
`greet.py NAME` greets NAME.
**Acceptance Criteria:**
- [ ] the tests pass
**Verify:**
```bash
python -m unittest
```
"""
FAILURE = """\
F
======================================================================
FAIL: test_name (test_greet.GreetTest.test_name)
----------------------------------------------------------------------
AssertionError: 'Hello!' != 'Hello, Ada!'

Ran 1 test in 0.001s

FAILED (failures=1)"""


def greets(process: Process) -> int:
    path = process.path("greeting.txt")
    return 0 if path.exists() and "Hello" in path.read_text() else 1


def unittests(process: Process) -> int:
    path = process.path("greet.py")
    if path.exists() and "name" in path.read_text():
        process.print("Ran 1 test in 0.001s\n\nOK")
        return 0
    process.print(FAILURE if path.exists() else "Ran 0 tests in 0.000s\n\nNO TESTS RAN")
    return 1


GREETS = (
    says("I write the greeting first."),
    waits(65),
    writes("greeting.txt", "Hello, world!\n"),
    reports(summary="greeting.txt says hello."),
)
BY_NAME = (
    writes("greet.py", "print(f'Hello, {name}!')\n"),
    waits(200),
    reports(summary="greet.py greets by name."),
)
WITHOUT_NAME = (writes("greet.py", "print('Hello!')\n"), waits(30), reports(summary="greet.py greets."))
ASKS = (
    says("The plan does not say in which language."),
    reports(
        "needs_human",
        question="In which language should it greet?",
        options=["English", "German"],
        recommendation="English, as in the README",
    ),
)
Script = dict[tuple[str, int], tuple[Step, ...]]
GOOD: Script = {("1.1", 1): GREETS, ("1.1", 2): GREETS, ("1.2", 1): BY_NAME}


@pytest.fixture
def open_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Session]]:
    with ExitStack() as stack:

        def open_it(script: Script, **options: object) -> Session:
            project = TemporaryProject(
                tmp_path,
                **{
                    "plan": PLAN,
                    "gates": {"grep -q Hello greeting.txt": greets, "python -m unittest": unittests},
                    "agent": ScriptedAgent(script),
                    **options,
                },  # type: ignore[arg-type]
            )
            return Session(stack.enter_context(project), monkeypatch)

        yield open_it
    monkeypatch.undo()
    time.tzset()


def check_stored(session: Session, name: str) -> None:
    path = STORED / f"{name}.txt"
    if WRITE:
        path.write_text(session.text)
    assert session.text == path.read_text()


def test_a_good_run(open_session: Callable[..., Session]) -> None:
    def look_from_elsewhere(_process: Process) -> None:
        session.elsewhere("orchestrator status plan.md")

    by_name = (BY_NAME[0], waits(100), look_from_elsewhere, *BY_NAME[1:])
    session = open_session({("1.1", 1): GREETS, ("1.2", 1): by_name})
    session.type("orchestrator run plan.md")
    assert session.exit_code == 0
    session.type(session.next_command)
    assert session.exit_code == 0 and "+Hello, world!" in session.stdout
    session.type("orchestrator logs plan.md")
    session.type("orchestrator run plan.md")
    check_stored(session, "a-good-run")


def test_a_question(open_session: Callable[..., Session]) -> None:
    session = open_session({("1.1", 1): ASKS, ("1.1", 2): GREETS, ("1.2", 1): BY_NAME})
    session.type("orchestrator run plan.md")
    assert session.exit_code == 3
    session.type(session.next_command.replace("TEXT", "English"))
    assert session.exit_code == 0
    assert "English" in session.project.agent.attempts[1].prompt
    check_stored(session, "a-question")


def test_a_failed_gate_and_a_hint(open_session: Callable[..., Session]) -> None:
    wrong: Script = {("1.2", number): WITHOUT_NAME for number in (1, 2, 3)}
    session = open_session({("1.1", 1): GREETS, **wrong, ("1.2", 4): BY_NAME})
    session.type("orchestrator run plan.md")
    assert session.exit_code == 1
    session.type(session.next_command)
    assert session.exit_code == 0 and session.stdout == f"{FAILURE}\n"
    session.type("orchestrator resume plan.md -g 'Use the argument.'")
    assert session.exit_code == 0
    check_stored(session, "a-failed-gate")


def test_a_resume_after_a_fix(open_session: Callable[..., Session]) -> None:
    wrong: Script = {("1.2", number): WITHOUT_NAME for number in (1, 2, 3)}
    session = open_session({("1.1", 1): GREETS, **wrong})
    session.type("orchestrator run plan.md")
    session.type(session.next_command)
    session.type("echo \"print(f'Hello, {name}!')\" > greet.py")
    session.type("orchestrator status")
    session.type("orchestrator resume")
    assert session.exit_code == 0 and len(session.project.agent.attempts) == 4
    check_stored(session, "a-resume-after-a-fix")


def test_a_red_base(open_session: Callable[..., Session]) -> None:
    def lints(process: Process) -> int:
        if process.path("lint.toml").exists():
            return 0
        process.print("lint: no configuration found\nlint: 1 error")
        return 1

    gates = {"grep -q Hello greeting.txt": greets, "python -m unittest": unittests, "lint .": lints}
    session = open_session(GOOD, gates=gates, settings="[verify]\ntask = ['lint .']\n")
    session.type("orchestrator run plan.md")
    assert (session.exit_code, session.stdout) == (2, "")
    session.type("orchestrator history")
    run = session.stdout.splitlines()[-1].split()[0]
    session.type(f"orchestrator status {run}")
    session.type(session.next_command)
    assert session.stdout == "lint: no configuration found\nlint: 1 error\n"
    session.type("touch lint.toml && git add lint.toml && git commit -qm 'Configure lint'")
    session.type("orchestrator run plan.md --base")
    assert session.exit_code == 0
    session.type("orchestrator run plan.md")
    assert session.exit_code == 0
    check_stored(session, "a-red-base")


class State(NamedTuple):
    """A run that ends in a state, and what its last line asks for."""

    script: Script
    exit_code: int
    command: str
    """RUN stands for the run's id."""
    then: int = 0
    """The exit code of that command."""
    shows: str = ""
    """Its output."""
    settings: str = ""
    plan: str = PLAN
    gates: tuple[tuple[str, Program], ...] = ()


def interrupt_once() -> Step:
    """As ^C in the terminal of the run, in the first run only."""
    signals = [signal.SIGINT]
    return lambda process: os.kill(os.getpid(), signals.pop()) if signals else None


RESUME = "orchestrator resume RUN"
SCENARIO = "\n## E2E Scenario\n```bash\nmake scenario\n```\n"


def scenario(process: Process) -> int:
    process.print("no greeting on the screen")
    return 1


STATES = {
    "interrupted": State({**GOOD, ("1.1", 1): (interrupt_once(), waits(60), *GREETS)}, 130, RESUME),
    "parked for a limit": State({**GOOD, ("1.1", 1): (hits_limit("usage_limit"),)}, 4, RESUME),
    "the agent fails": State(
        {("1.1", number): (says("I do not know how."), exits(1)) for number in (1, 2, 3)},
        1,
        "orchestrator logs RUN --task 1.1 --attempt 3",
        shows="says  I do not know how.",
        gates=(("grep -q Hello greeting.txt", lambda process: 0),),
    ),
    "the agent fails and its gate is red": State(
        {("1.1", number): (says("I do not know how."), exits(1)) for number in (1, 2, 3)},
        1,
        "orchestrator logs RUN --evidence e5",
    ),
    "the scenario fails": State(
        GOOD,
        1,
        "orchestrator logs RUN --evidence e7",
        shows="no greeting on the screen",
        plan=PLAN + SCENARIO,
        gates=(("make scenario", scenario),),
    ),
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_the_last_line_is_a_command_that_does_what_it_promises(
    open_session: Callable[..., Session], state: State
) -> None:
    gates = {"grep -q Hello greeting.txt": greets, "python -m unittest": unittests, **dict(state.gates)}
    session = open_session(state.script, settings=state.settings, plan=state.plan, gates=gates)
    session.type("orchestrator run plan.md")
    assert session.exit_code == state.exit_code, session.text
    run = session.next_command.split()[2]
    assert session.next_command == state.command.replace("RUN", run)
    command = session.next_command
    session.type(command)
    assert session.exit_code == state.then, session.text
    assert state.shows in session.stdout


def test_a_setup_that_fails_prints_nothing_but_its_error(open_session: Callable[..., Session]) -> None:
    gates = {"grep -q Hello greeting.txt": greets, "python -m unittest": unittests}
    gates["make setup"] = lambda process: 0 if process.path("Makefile").exists() else 1
    session = open_session(GOOD, settings="[setup]\ncommands = ['make setup']\n", gates=gates)
    for words in ("", " --json"):
        session.type(f"orchestrator run plan.md{words}")
        assert session.exit_code == 2 and session.stdout == "", session.text
        assert "failed before its first task" in session.text
    session.type("orchestrator history")
    session.type(f"orchestrator status {session.stdout.splitlines()[-1].split()[0]}")
    assert session.next_command == "orchestrator run plan.md"
    session.type("touch Makefile && git add Makefile && git commit -qm Makefile")
    session.type("orchestrator run plan.md")
    assert session.exit_code == 0, session.text


def test_a_cancelled_run_says_how_to_start_over(open_session: Callable[..., Session]) -> None:
    session = open_session({**GOOD, ("1.1", 1): (interrupt_once(), waits(60), *GREETS)})
    session.type("orchestrator run plan.md")
    session.type("orchestrator cancel plan.md")
    session.type("orchestrator status plan.md")
    assert session.next_command == "orchestrator run plan.md"
    session.type(session.next_command)
    assert session.exit_code == 0, session.text


def test_work_that_cannot_land_says_which_command_helps(open_session: Callable[..., Session]) -> None:
    moved: list[object] = []

    def switch_branch(process: Process) -> int:
        if process.path("greet.py").exists() and not moved:
            moved.append(session.in_shell("git switch -q -c other"))
        return unittests(process)

    gates = {"grep -q Hello greeting.txt": greets, "python -m unittest": switch_branch}
    session = open_session(GOOD, gates=gates)
    session.type("orchestrator run plan.md")
    assert session.exit_code == 4, session.text
    assert "Switch back: git switch greeting" in session.stdout
    resume = session.next_command
    session.type("git switch -q greeting")
    session.type(resume)
    assert session.exit_code == 0, session.text


def test_a_night(open_session: Callable[..., Session]) -> None:
    """One task fails for good, one asks, and a limit parks the run for a while; everything else is done."""
    reset = datetime(2026, 1, 1, 12, 30, tzinfo=UTC).timestamp()

    looking: list[asyncio.Task[None]] = []

    async def look_from_elsewhere(clock: Clock) -> None:
        await clock.sleep(600)
        session.elsewhere("orchestrator status plan.md")

    def look_later(process: Process) -> None:
        looking.append(asyncio.ensure_future(look_from_elsewhere(process.clock)))

    def has_format(process: Process) -> int:
        if process.path("format.txt").exists() and process.path("task-3.txt").exists():
            return 0
        process.print("FAILED test_writing.py::test_format - the format has no version")
        return 1

    checks = {f"sh check.sh {id}": file_exists(f"task-{id}.txt") for id in NIGHT}
    half = (writes("task-3.txt", "half\n"), writes("notes.txt", "what I tried\n"), reports())
    asks = reports(
        "needs_human", question="Which login?", options=["passwords", "keys"], recommendation="keys"
    )
    script: Script = {
        **{("3", number): (half[0], waits(60), *half[1:]) for number in (1, 2)},
        ("3", 3): (writes("format.txt", "version 1\n"), reports(summary="The format has a version.")),
        ("6", 1): (writes("login.txt", "?\n"), asks),
        ("8", 1): (look_later, writes("task-8.txt", "half\n"), hits_limit("usage_limit", reset)),
    }
    session = open_session(
        script,
        plan=night_plan(),
        gates={**checks, "sh check.sh 3": has_format},
        settings="[limits]\nattempts = 2\n",
    )
    session.type("orchestrator run plan.md --wait --until 07:00")
    assert session.exit_code == 4
    session.type("orchestrator status plan.md")
    session.type("orchestrator answer plan.md --recommended")
    session.type(session.next_command)
    assert session.exit_code == 0
    assert session.in_shell("git show archive:notes.txt")[0] == "what I tried\n"
    assert session.in_shell("git status --porcelain")[0] == ""
    check_stored(session, "a-night")


def test_the_page_about_nights_shows_what_is_printed() -> None:
    """It shows the night of `make night`. The one here has the same messages."""
    real, here = (path.read_text("utf-8") for path in (STORED_NIGHT, STORED / "a-night.txt"))
    lines = set(blur(here))
    for part in list_shown():
        assert part in real
        assert [line for line in blur(part) if line not in lines] == []


def test_mistyped_commands_a_failed_attempt_and_an_undo(open_session: Callable[..., Session]) -> None:
    fails = (writes("greet.py", "print('Hello!')\n"), waits(30), reports("failed", summary="Too hard."))
    session = open_session({("1.1", 1): GREETS, ("1.2", 1): fails}, settings="[limits]\nattempts = 1\n")
    for words in ("rnu plan.md", "run plan.md --agnet nop", "run paln.md"):
        session.type(f"orchestrator {words}")
        assert session.exit_code == 2, words
    session.type("orchestrator run plan.md")
    assert session.exit_code == 1
    session.type("echo 'Ask Ada about names.' > notes.txt && echo 'Hi, world!' > greeting.txt")
    session.type("orchestrator undo plan.md 1.1")
    assert session.exit_code == 0
    (restore,) = [line for line in session.stdout.splitlines() if line.startswith("greeting.txt had changes")]
    session.type(restore.partition(": ")[2])
    session.type("cat greeting.txt notes.txt")
    assert session.stdout == "Hi, world!\nAsk Ada about names.\n"
    session.type("orchestrator abandon plan.md")
    assert session.exit_code == 0
    session.type("git status --short")
    assert session.stdout == "?? greeting.txt\n?? notes.txt\n", "both are the user's now"
    check_stored(session, "an-undo")


def test_disk_is_freed_and_the_figures_say_so(
    open_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.commands.start.AT_ONCE_BYTES", 0)  # as earlier versions left it
    talks = (says("Still thinking about the greeting.\n" * 20_000), *GREETS)
    session = open_session({("1.1", 1): talks, ("1.2", 1): BY_NAME})
    session.type("orchestrator run plan.md")
    session.project.do(session.project.clock.sleep(60))
    held = []
    for words in ("clean --dry-run", "clean", "clean", "clean --older-than 0m", "clean --older-than 0m"):
        held.append(measure_folder(session.project.state))
        session.type("orchestrator doctor --check storage")
        assert f"{describe_size(held[-1])} in {session.project.state}" in session.stdout
        session.type(f"orchestrator {words}")
        assert session.exit_code == 0
    before, dry, compressed, again, cleaned = held
    assert before == dry and before - compressed > 500_000 and compressed == again > cleaned
    check_stored(session, "a-clean-up")
