"""Runs that wait for themselves, stop in time, or begin later: the real runner with a fake clock.

Most tests need no project: `FakeRun` has a journal in memory, and attempts that end as the test says.
"""

import asyncio
import errno
import os
import signal
import subprocess  # noqa: TID251 - the user commits while a run waits
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from run_histories import Entry, answered, begun, numbered
from runner_kit import FakeRun, asks, fake_times, one_after_another, parks

from orchestrator.engine.timetable import Timetable
from orchestrator.errors import CodingAgentError, EnvironmentInvalid, StorageError
from orchestrator.run.facts import (
    AttemptEnded,
    AttemptStarted,
    BaseChecked,
    CancelRequested,
    Fact,
    RunCause,
    RunEnded,
    RunResumed,
    RunWaiting,
    Sleep,
    WaitEnded,
)
from orchestrator.run.report import Owner, run_json, run_status
from orchestrator.run.state import RunState, fold
from orchestrator.supervision.decide import Action, Work, WorkItem
from orchestrator.testing.agent import ScriptedAgent, hits_limit, reports, waits, writes
from orchestrator.testing.clock import START, FakeClock, run_in_fake_time
from orchestrator.testing.project import TemporaryProject

ITEM = WorkItem(id="1", depends_on=(), checks=(), change="optional")
ONE = Work(items=(ITEM,), end_to_end=(), attempts=1)
MINUTE = timedelta(minutes=1)
Beside = Callable[[FakeRun, FakeClock], Coroutine[Any, Any, None]]


class TimedRun(FakeRun):
    """A FakeRun that notes at which minute each attempt, wait and end began."""

    def __init__(self, clock: FakeClock, **attempts: Any) -> None:
        super().__init__(ONE, **attempts)
        self.clock = clock
        self.times: list[tuple[str, float]] = []

    def store(self, *entries: Entry) -> None:
        for entry in entries:
            if isinstance(entry.body, AttemptStarted | RunWaiting | RunEnded):
                minutes = self.clock.monotonic() / 60
                self.times.append((entry.body.kind.removeprefix("run_"), round(minutes, 2)))
            super().store(entry)


def carry_out(
    *scripts: Any, beside: Beside | None = None, times: Callable[[FakeClock], Timetable] = fake_times
) -> TimedRun:
    """A run of one task whose attempts follow these scripts; `beside` begins once the run waits."""
    clock = FakeClock()
    run = TimedRun(clock, of_1=one_after_another(*scripts))

    async def both() -> None:
        running = asyncio.ensure_future(run.to_its_end(times(clock)))
        if beside is not None:
            await run.waits.wait()
            await beside(run, clock)
        await running

    run_in_fake_time(clock, both())
    return run


def end_of(run: FakeRun) -> tuple[str, int, RunCause | None]:
    assert run.state.end is not None
    return run.state.end.status, run.state.end.exit_code, run.state.end.cause


COMPLETED = ("completed", 0, None)


def test_the_run_continues_at_the_reset_by_itself() -> None:
    run = carry_out(parks("usage_limit", START + 5 * MINUTE))
    assert run.times == [("attempt_started", 0), ("waiting", 0), ("attempt_started", 5), ("ended", 5)]
    assert end_of(run) == COMPLETED
    assert not run.kinds(RunResumed) and len(run.kinds(WaitEnded)) == 1


def at_its_terminal(left_open: asyncio.Event) -> Callable[[FakeClock], Timetable]:
    """Without `--wait`, but with a user who can answer."""
    return lambda clock: fake_times(clock, left_open=left_open, waits=False)


def test_at_its_terminal_a_run_waits_for_an_answer() -> None:
    async def give_answer(run: FakeRun, clock: FakeClock) -> None:
        await clock.sleep(600)
        run.store_from_outside(answered())

    run = carry_out(asks(), beside=give_answer, times=at_its_terminal(asyncio.Event()))
    assert run.times[-2:] == [("attempt_started", 10), ("ended", 10)] and end_of(run) == COMPLETED


def test_a_question_that_the_user_leaves_open_ends_the_run() -> None:
    left_open = asyncio.Event()

    async def leave_open(run: FakeRun, clock: FakeClock) -> None:
        await clock.sleep(60)
        left_open.set()

    run = carry_out(asks(), beside=leave_open, times=at_its_terminal(left_open))
    assert run.times[-2:] == [("waiting", 0), ("ended", 1)]
    assert end_of(run) == ("waiting", 3, "question") and not run.kinds(WaitEnded)


def test_a_limit_parks_a_run_at_its_terminal() -> None:
    run = carry_out(parks("usage_limit"), times=at_its_terminal(asyncio.Event()))
    assert end_of(run) == ("parked", 4, "usage_limit")


@pytest.mark.parametrize("cause", ["usage_limit", "rate_limit", "model_away"])
def test_without_a_known_time_the_waits_double(cause: RunCause) -> None:
    run = carry_out(*[parks(cause)] * 4)
    waited = [at for kind, at in run.times if kind == "waiting"]
    assert [later - earlier for earlier, later in pairwise([*waited, run.times[-1][1]])] == [1, 2, 4, 8]


def test_a_limit_met_again_at_its_own_reset_doubles_the_wait_too() -> None:
    run = carry_out(*[parks("usage_limit", START)] * 3)
    assert [at for kind, at in run.times if kind == "attempt_started"] == [0, 0, 2, 6]


def test_work_between_two_limits_is_a_success() -> None:
    run = carry_out(*[parks("model_away", tool_calls=1)] * 3)
    assert [at for kind, at in run.times if kind == "attempt_started"] == [0, 1, 2, 3]


def test_jitter_comes_after_the_time_that_is_shown() -> None:
    run = carry_out(
        parks("usage_limit", START + 5 * MINUTE), times=lambda clock: fake_times(clock, jitter=0.5)
    )
    (waiting,) = run.kinds(RunWaiting)
    assert (waiting.cause, waiting.until) == ("usage_limit", "2026-01-01T12:05:00.000Z")
    assert dict(run.times)["attempt_started"] == 5.5


def test_without_wait_a_limit_ends_the_run() -> None:
    run = carry_out(parks("usage_limit", START + 5 * MINUTE), times=lambda clock: Timetable(clock=clock))
    assert end_of(run) == ("parked", 4, "usage_limit") and not run.kinds(RunWaiting)


@pytest.mark.parametrize("cause", ["credential_refused", "billing", "model_unknown", "until"])
def test_what_does_not_pass_by_itself_ends_a_run_that_waits(cause: RunCause) -> None:
    assert end_of(carry_out(parks(cause))) == ("parked", 4, cause)


def test_an_engine_that_is_away_is_waited_for() -> None:
    class Away(FakeRun):
        failures = 0

        async def carry_out(self, action: Action, state: RunState) -> None:
            self.failures += 1
            if self.failures < 3:
                raise CodingAgentError("the engine does not answer")
            await super().carry_out(action, state)

    run, clock = Away(ONE), FakeClock()
    run_in_fake_time(clock, run.to_its_end(fake_times(clock)))
    assert end_of(run) == COMPLETED
    assert [waiting.cause for waiting in run.kinds(RunWaiting)] == ["engine_away"] * 2
    assert clock.monotonic() == 60 + 120


def test_a_full_disk_is_waited_for_one_hour_in_all() -> None:
    clock, run = FakeClock(), FakeRun(ONE, base=OSError(errno.ENOSPC, "No space left on device"))
    run_in_fake_time(clock, run.to_its_end(fake_times(clock, jitter=1.0)))
    assert end_of(run) == ("parked", 4, "disk_full")
    assert clock.monotonic() == 3600 and len(run.kinds(RunWaiting)) == 6


def test_a_journal_on_a_full_disk_keeps_no_run_from_waiting() -> None:
    class FullDisk(FakeRun):
        async def append(self, body: object, **names: Any) -> None:
            if isinstance(body, RunWaiting):
                self.base = None
                raise StorageError("the journal cannot be written")
            await super().append(body, **names)  # type: ignore[arg-type]

    clock, run = FakeClock(), FullDisk(ONE, base=OSError(errno.ENOSPC, "No space left on device"))
    run_in_fake_time(clock, run.to_its_end(fake_times(clock)))
    assert end_of(run) == COMPLETED and clock.monotonic() == 60


@pytest.mark.parametrize("days", [0, 3])
def test_a_question_is_waited_for_until_it_is_answered(days: int) -> None:
    async def answer(run: FakeRun, clock: FakeClock) -> None:
        await clock.sleep(days * 86_400)
        run.store_from_outside(answered())

    run = carry_out(asks(), beside=answer)
    assert end_of(run) == COMPLETED
    (waiting,) = run.kinds(RunWaiting)
    assert (waiting.cause, waiting.until, waiting.sleep) == ("question", None, "far_away")
    assert dict(run.times)["attempt_started"] == days * 1440


def test_a_limit_is_waited_for_although_another_task_asks() -> None:
    """The question has the worse exit code, but it needs the user, who sleeps."""
    clock = FakeClock()
    work = replace(ONE, items=(ITEM, replace(ITEM, id="2"), replace(ITEM, id="3")))
    limit = one_after_another(parks("usage_limit", START + 5 * MINUTE))
    run = FakeRun(work, of_1=asks(), of_2=limit)
    run_in_fake_time(clock, run.to_its_end(fake_times(clock, until=START + 60 * MINUTE)))
    assert [waiting.cause for waiting in run.kinds(RunWaiting)] == ["usage_limit", "question"]
    assert [id for id, task in run.state.tasks.items() if task.is_done] == ["2", "3"]
    assert end_of(run) == ("parked", 4, "until")


def test_a_credential_that_is_refused_ends_the_run_although_a_task_asks() -> None:
    """An answer would help nothing. The question decides the exit code."""
    clock = FakeClock()
    run = FakeRun(replace(ONE, items=(ITEM, replace(ITEM, id="2"))), of_1=asks(), of_2=parks("billing"))
    run_in_fake_time(clock, run.to_its_end(fake_times(clock)))
    assert end_of(run) == ("waiting", 3, "question") and not run.kinds(RunWaiting)


def test_a_request_to_cancel_ends_the_wait() -> None:
    async def cancel(run: FakeRun, clock: FakeClock) -> None:
        await clock.sleep(60)
        run.store_from_outside(Entry(CancelRequested()))

    run = carry_out(parks("usage_limit", START + 5 * MINUTE), beside=cancel)
    assert end_of(run) == ("cancelled", 130, None) and run.times[-1] == ("ended", 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
@pytest.mark.parametrize(
    "script", [parks("usage_limit", START + 5 * MINUTE), asks()], ids=["limit", "question"]
)
def test_a_signal_ends_the_wait_with_130(number: signal.Signals, script: Any) -> None:
    """SIGHUP is what a terminal sends that is closed."""

    async def kill(_run: FakeRun, clock: FakeClock) -> None:
        await clock.sleep(60)
        os.kill(os.getpid(), number)

    run = carry_out(script, beside=kill)
    assert end_of(run) == ("interrupted", 130, None) and run.times[-1][1] <= 2
    assert run.state.end is not None and run.state.end.reason == f"stopped by {number.name}"


def test_until_ends_a_wait() -> None:
    run = carry_out(
        parks("usage_limit", START + 5 * MINUTE), times=lambda clock: fake_times(clock, until=START + MINUTE)
    )
    assert end_of(run) == ("parked", 4, "until") and run.times[-1] == ("ended", 1)
    assert run.state.end is not None and run.state.end.until is None


@pytest.mark.parametrize(("minutes", "continues"), [(-10, 15), (-1440, 1445), (3, 2), (600, 1)])
def test_a_clock_that_is_set_during_the_wait_is_followed(minutes: int, continues: float) -> None:
    """The provider's reset is a time of day: a laptop that slept finds its clock ahead of its counting."""

    async def set_clock(_run: FakeRun, clock: FakeClock) -> None:
        await clock.sleep(59)
        clock.set_time(clock.now() + minutes * MINUTE)

    run = carry_out(parks("usage_limit", START + 5 * MINUTE), beside=set_clock)
    assert end_of(run) == COMPLETED
    assert dict(run.times)["attempt_started"] == pytest.approx(continues, abs=0.1)


def test_a_living_owner_that_waits_is_shown_as_parked_with_its_time() -> None:
    run = carry_out(
        parks("usage_limit", START + 5 * MINUTE), asks(), beside=None, times=two_minutes_for_answers
    )
    facts, owner = run_facts(run), Owner(pid=1, host="here", since="2026-01-01T12:00:00.000Z")
    first, second = (i for i, fact in enumerate(facts) if isinstance(fact.body, RunWaiting))
    parked = fold(facts[: first + 1])
    assert run_status(parked, owner) == "parked" and run_status(parked, None) == "interrupted"
    shown = run_json(parked, owner)
    assert (shown["status"], shown["cause"], shown["until"]) == (
        *("parked", "usage_limit", "2026-01-01T12:05:00.000Z"),
    )
    assert shown["owner"]["pid"] == 1 and shown["ended"] is None
    assert run_json(parked, None)["until"] is None
    assert run_status(fold(facts[: first + 2]), owner) == "running"
    waiting = fold(facts[: second + 1])
    assert (run_status(waiting, owner), run_json(waiting, owner)["until"]) == ("waiting", None)


def two_minutes_for_answers(clock: FakeClock) -> Timetable:
    return fake_times(clock, until=START + 7 * MINUTE)


def run_facts(run: FakeRun) -> list[Any]:
    return [*numbered([begun("1")]), *run.facts]


class Awake:
    """Stands for systemd-inhibit: says what the machine allows, and notes when it is held."""

    def __init__(self, says: Sleep = "kept_awake") -> None:
        self.says, self.held, self.log = says, False, []  # type: ignore[var-annotated]

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Sleep]:
        self.held = True
        yield self.says
        self.held = False
        self.log.append("let go")


@pytest.mark.parametrize("says", ["kept_awake", "on_battery", "no_program"])
def test_the_machine_is_kept_awake_for_a_known_time_and_the_run_says_so(says: Sleep) -> None:
    awake, seen = Awake(says), []

    async def look(_run: FakeRun, _clock: FakeClock) -> None:
        seen.append(awake.held)

    run = carry_out(
        parks("usage_limit", START + 12 * 60 * MINUTE),
        beside=look,
        times=lambda clock: fake_times(clock, keep_awake=awake.hold),
    )
    assert [waiting.sleep for waiting in run.kinds(RunWaiting)] == [says]
    assert (seen, awake.log) == ([True], ["let go"])


def test_a_time_too_far_away_lets_the_machine_sleep() -> None:
    awake = Awake()
    run = carry_out(
        parks("usage_limit", START + 12 * 60 * MINUTE + timedelta(seconds=1)),
        times=lambda clock: fake_times(clock, keep_awake=awake.hold),
    )
    assert [waiting.sleep for waiting in run.kinds(RunWaiting)] == ["far_away"] and not awake.log


def test_at_keeps_the_machine_awake_too_and_checks_again() -> None:
    awake, checked = Awake(), []

    async def check_again() -> None:
        checked.append(clock.now())

    clock, run = FakeClock(), FakeRun(ONE)
    times = Timetable(
        clock=clock, at=START + 9 * MINUTE, check_again=check_again, keep_awake=awake.hold, jitter=lambda: 1
    )
    run_in_fake_time(clock, run.to_its_end(times))
    (waiting,) = run.kinds(RunWaiting)
    assert (waiting.cause, waiting.until, waiting.sleep) == (
        *("scheduled", "2026-01-01T12:09:00.000Z", "kept_awake"),
    )
    assert checked == [START + 9 * MINUTE] and end_of(run) == COMPLETED


def test_what_is_refused_when_the_work_is_to_begin_parks_the_run() -> None:
    async def check_again() -> None:
        raise EnvironmentInvalid("needed.txt is gone")

    clock, run = FakeClock(), FakeRun(ONE)
    run_in_fake_time(
        clock, run.to_its_end(Timetable(clock=clock, at=START + MINUTE, check_again=check_again))
    )
    assert end_of(run)[:2] == ("parked", 4) and not run.kinds(AttemptStarted)


# With a project: what the runner's actions and the command do about it.


def project_with(tmp_path: Path, attempts: dict[tuple[str, int], Any], **more: Any) -> TemporaryProject:
    return TemporaryProject(tmp_path, agent=ScriptedAgent(attempts), **more)


def bodies(project: TemporaryProject, run: str, kind: type[Any]) -> list[Any]:
    return [fact.body for fact in project.facts(run) if isinstance(fact.body, kind)]


def test_a_limit_costs_no_attempt_and_until_neither(tmp_path: Path) -> None:
    reset = datetime(2026, 1, 1, 12, 5, tzinfo=UTC)
    script = {
        ("1", 1): [hits_limit("usage_limit", reset.timestamp())],
        ("1", 2): [writes("half.txt", "half\n"), waits(5 * 3600)],
    }
    with project_with(tmp_path, script, settings="[limits]\nattempts = 1\n") as project:
        report = project.run(until=project.clock.now() + 8 * MINUTE, wait=True)
        end = report.state.end
        assert end is not None
        assert (end.status, end.exit_code, end.cause, end.until) == ("parked", 4, "until", None)
        first, second = bodies(project, report.run, AttemptEnded)
        assert (first.cause, second.status, second.cause) == ("usage_limit", "parked", "until")
        assert any(fact.body.kind == "tree_saved" for fact in project.facts(report.run))
        resumed = project.resume()
        assert resumed.status == "completed"
        assert [each.resumed for each in project.agent.attempts] == [False, True, True]


def test_a_wait_gives_the_task_no_new_attempts(tmp_path: Path) -> None:
    """Only `resume` does: else a limit every few hours would keep a hopeless task going all night."""
    script = {
        ("1", 1): [reports("failed", summary="It is hard.")],
        ("1", 2): [hits_limit("usage_limit", (START + 5 * MINUTE).timestamp())],
        ("1", 3): [reports("failed", summary="It is harder.")],
    }
    with project_with(tmp_path, script, settings="[limits]\nattempts = 2\n") as project:
        report = project.run(wait=True)
        assert (report.exit_code, len(project.agent.attempts)) == (1, 3)
        assert "2 of 2 attempts used" in str(report.reason)
        assert project.resume().exit_code == 0


def test_at_checks_first_and_works_later_with_the_results_on_the_base(tmp_path: Path) -> None:
    with project_with(tmp_path, {}) as project:
        report = project.run(at=project.clock.now() + 9 * MINUTE)
        assert report.status == "completed"
        kinds = [fact.body.kind for fact in project.facts(report.run)]
        assert kinds.index("base_checked") < kinds.index("run_waiting") < kinds.index("attempt_started")
        assert len(bodies(project, report.run, BaseChecked)) == 1


def while_waiting(do: Callable[[], None]) -> Callable[[Fact], None]:
    """Calls `do` when the run waits, once."""
    done: list[bool] = []

    def listen(fact: Fact) -> None:
        if isinstance(fact.body, RunWaiting) and not done:
            done.append(True)
            do()

    return listen


def git_while_it_runs(project: TemporaryProject, *words: str) -> None:
    subprocess.run(["git", *words], cwd=project.folder, check=True, env=project.environ)


def test_a_commit_that_the_user_makes_before_the_work_is_the_base(tmp_path: Path) -> None:
    with project_with(tmp_path, {}) as project:

        def commit() -> None:
            (project.folder / "meanwhile.txt").write_text("x\n")
            git_while_it_runs(project, "add", "-A")
            git_while_it_runs(project, "commit", "-qm", "meanwhile")

        at = project.clock.now() + 9 * MINUTE
        report = project.run(at=at, listeners=(while_waiting(commit),))
        assert report.status == "completed", report.reason
        assert report.state.start.base == project.git("rev-parse", "main")
        assert project.git("log", "--format=%s", "work").splitlines()[-2:] == ["meanwhile", "start"]
        assert len(bodies(project, report.run, BaseChecked)) == 2, "other files may give another result"


def test_a_head_that_has_moved_elsewhere_before_the_work_parks_the_run(tmp_path: Path) -> None:
    with project_with(tmp_path, {}) as project:

        def leave() -> None:
            git_while_it_runs(project, "checkout", "-q", "--orphan", "other")
            git_while_it_runs(project, "commit", "-qm", "other")

        at = project.clock.now() + 9 * MINUTE
        report = project.run(at=at, listeners=(while_waiting(leave),))
        assert (report.exit_code, "HEAD has moved" in str(report.reason)) == (4, True)
        assert not project.agent.attempts


def test_at_its_time_a_run_requires_every_check_again(tmp_path: Path) -> None:
    with project_with(tmp_path, {}, settings="[environment]\nrequired_files = ['needed.txt']\n") as project:
        needed = project.folder / "needed.txt"
        needed.write_text("x\n")
        project.git("add", "-A")
        project.git("commit", "-qm", "needed")

        def remove(fact: Any) -> None:
            if isinstance(fact.body, RunWaiting):
                needed.unlink()

        report = project.run(at=project.clock.now() + 9 * MINUTE, listeners=(remove,))
        assert report.exit_code == 4 and "needed.txt" in str(report.reason)
        assert not project.agent.attempts
