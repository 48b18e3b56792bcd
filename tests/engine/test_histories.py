"""Whole runs through the real loop, journal and repository; engine, clock and agent are fakes."""

import asyncio
import os
import shlex
import subprocess  # noqa: TID251 - mounts a small file system for a test
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.next_step import next_step
from orchestrator.commands.cancel import cancel
from orchestrator.commands.request import RunRequest
from orchestrator.commands.run import run
from orchestrator.errors import StorageError
from orchestrator.preflight.environment import DISK_BYTES
from orchestrator.run.facts import (
    AttemptEnded,
    Fact,
    GateEnded,
    Notice,
    QuestionAsked,
    TaskFinished,
    TreeSaved,
)
from orchestrator.run.report import RunReport
from orchestrator.testing.agent import (
    ScriptedAgent,
    Step,
    exits,
    floods,
    hits_limit,
    ignores,
    reports,
    runs_out_of_memory,
    says,
    waits,
    works,
    writes,
)
from orchestrator.testing.processes import Process
from orchestrator.testing.project import PLAN, TemporaryProject

MakeProject = Callable[..., TemporaryProject]
Attempts = dict[tuple[str, int], tuple[Step, ...]]
LIMITS = "[limits]\nattempt_seconds = 600\noutput_bytes = 100000\n"


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[MakeProject]:
    with ExitStack() as stack:

        def make(attempts: Attempts | None = None, **more: Any) -> TemporaryProject:
            return stack.enter_context(TemporaryProject(tmp_path, agent=ScriptedAgent(attempts), **more))

        yield make


def bodies(project: TemporaryProject, report: RunReport, *kinds: type) -> list[object]:
    return [fact.body for fact in project.facts(report.run) if isinstance(fact.body, kinds)]


def ends(project: TemporaryProject, report: RunReport) -> list[tuple[str, str | None]]:
    """Status and reason of every attempt that ended."""
    found = [fact.body for fact in project.facts(report.run)]
    return [(body.status, body.reason) for body in found if isinstance(body, AttemptEnded)]


def check_nothing_left(project: TemporaryProject) -> None:
    assert project.do(project.engine.list({})) == ()
    assert project.git("status", "--porcelain") == ""
    project.git("fsck", "--strict")


def test_listeners_and_journal_have_the_same_facts_in_order(make_project: MakeProject) -> None:
    received: list[Fact] = []
    project = make_project(tasks=("1", "2"))
    report = project.run(listeners=(received.append,))
    assert report.status == "completed"
    assert [fact.n for fact in received] == list(range(1, len(received) + 1))
    assert [fact.n for fact in project.facts(report.run)] == [fact.n for fact in received]
    kinds = [fact.body.kind for fact in received if fact.task == "2"]
    wanted = ["task_started", "attempt_started", "attempt_ended", "candidate_made", "gate_ended"]
    assert [kind for kind in kinds if kind in (*wanted, "task_finished")] == [*wanted, "task_finished"]
    check_nothing_left(project)


def test_a_gate_that_fails_twice_and_then_passes(make_project: MakeProject) -> None:
    wrong = (writes("task-1.txt", "wrong\n"), reports())
    right = (writes("task-1.txt", "right\n"), reports())

    def check(process: Process) -> int:
        text = process.path("task-1.txt").read_text() if process.path("task-1.txt").exists() else ""
        process.print(f"it says {text!r}")
        return 0 if text == "right\n" else 1

    project = make_project({("1", 1): wrong, ("1", 2): wrong, ("1", 3): right}, gates={"check 1": check})
    report = project.run()
    assert report.status == "completed"
    ended = [body for body in bodies(project, report, GateEnded) if isinstance(body, GateEnded)]
    assert [(body.verdict, body.round) for body in ended] == [
        ("fail", 1),
        ("fail", 2),  # the failure is new, so it is tried again in a fresh container
        ("fail", 1),
        ("pass", 1),
    ]
    first, second, third = project.agent.attempts
    assert [first.resumed, second.resumed, third.resumed] == [False, True, True]
    assert "it says 'wrong\\n'" in third.prompt
    check_nothing_left(project)


@pytest.mark.parametrize(
    ("steps", "status", "reason"),
    [
        ((waits(7200),), "timed_out", "longer than limits.attempt_seconds"),
        ((ignores("SIGTERM"), waits(7200)), "timed_out", "longer than limits.attempt_seconds"),
        ((floods(500),), "failed", "printed more than limits.output_bytes"),
        ((ignores("SIGINT", "SIGTERM"), floods(500)), "failed", "printed more than limits.output_bytes"),
        ((runs_out_of_memory(),), "failed", "ran out of memory"),
        ((says("oh no"), exits(3)), "failed", "reported no outcome (exit code 3)"),
        ((says("done!"),), "unclear", "reported no outcome (exit code 0)"),
        ((reports("failed", summary="It cannot be done."),), "failed", "It cannot be done."),
        ((reports(),), "unclear", "after 0 tool calls"),
        ((writes("a.txt", "x"), reports(), exits(9)), "failed", "but its exit code is 9"),
    ],
    ids=[
        *("over time", "over time and deaf", "over output", "over output and deaf", "out of memory"),
        *("crash", "no outcome", "says failed", "does nothing", "done but exit 9"),
    ],
)
def test_an_attempt_that_ends_badly_is_followed_by_another(
    make_project: MakeProject, steps: tuple[Step, ...], status: str, reason: str
) -> None:
    project = make_project({("1", 1): steps}, settings=LIMITS)
    report = project.run()
    assert report.status == "completed"
    (bad, why), good = ends(project, report)
    assert (bad, good) == (status, ("completed", None))
    assert why is not None and reason in why
    check_nothing_left(project)


@pytest.mark.parametrize(
    "steps",
    [
        (hits_limit("credential_refused", 1_800_000_000),),
        (hits_limit("billing", 1_800_000_000),),
        (ignores("SIGINT", "SIGTERM"), hits_limit("usage_limit", 1_800_000_000)),
    ],
    ids=["credential", "billing", "usage and deaf"],
)
def test_a_provider_that_refuses_parks_the_run(make_project: MakeProject, steps: tuple[Step, ...]) -> None:
    project = make_project({("1", 1): (writes("a.txt", "begun\n"), *steps)})
    report = project.run()
    assert (report.status, report.exit_code) == ("parked", 4)
    assert report.state.end is not None and report.state.end.until == "2027-01-15T08:00:00.000Z"
    assert project.clock.monotonic() < 3600
    assert bodies(project, report, TreeSaved)
    assert project.resume().status == "completed"
    assert project.agent.attempts[1].resumed
    check_nothing_left(project)


def test_an_attempt_whose_container_is_removed_from_outside_does_not_count(make_project: MakeProject) -> None:
    removing = []

    def remove(process: Process) -> None:
        removing.append(asyncio.ensure_future(project.engine.remove_from_outside(process.box.spec.name)))

    project = make_project({("1", 1): (writes("a.txt", "begun\n"), waits(60), remove, waits(60))})
    report = project.run()
    assert ends(project, report)[0] == ("interrupted", "another program removed the container")
    if report.status != "completed":
        report = project.resume()
    assert report.status == "completed"
    check_nothing_left(project)


@pytest.mark.parametrize(("times", "status"), [(1, "completed"), (2, "parked")])
def test_a_gate_whose_container_is_removed_from_outside_runs_once_more(
    make_project: MakeProject, times: int, status: str
) -> None:
    removed: list[asyncio.Future[None]] = []

    async def check(process: Process) -> int:
        if process.path("task-1.txt").exists() and len(removed) < times:
            gone = project.engine.remove_from_outside(process.box.spec.name)
            removed.append(asyncio.ensure_future(gone))
            await process.clock.sleep(60)
        return 0 if process.path("task-1.txt").exists() else 1

    project = make_project(gates={"check 1": check})
    report = project.run()
    assert (report.status, len(removed)) == (status, times)
    assert len(project.agent.attempts) == 1
    why = "verify-1: its container was removed or stopped by another process"
    assert Notice(text=f"{why}; the commands run once more in a new one") in bodies(project, report, Notice)
    if status == "parked":
        assert project.resume().status == "completed"
    check_nothing_left(project)


def test_the_printed_commands_work_with_a_tag_of_the_branchs_name(make_project: MakeProject) -> None:
    project = make_project()
    project.git("tag", "work")
    report = project.run()
    assert report.status == "completed"
    step = next_step(report.state, "completed", project.folder)
    shown = project.git(*shlex.split(step.command)[1:])
    assert "+++ b/task-1.txt" in shown
    project.git("switch", "-q", "-c", "mine", "refs/heads/work^")
    project.git(*shlex.split(step.before[-1].rpartition("then: ")[2])[1:])
    assert "task-1.txt" in project.git("ls-files")


def test_losing_the_engine_during_an_attempt_parks_the_run(make_project: MakeProject) -> None:
    def leave(process: Process) -> None:
        project.engine.is_away = True

    project = make_project({("1", 1): (writes("a.txt", "begun\n"), leave, waits(1000))})
    report = project.run()
    assert (report.status, report.exit_code) == ("parked", 4)
    assert report.reason is not None and "Cannot connect" in report.reason
    project.engine.is_away = False
    assert project.resume().status == "completed"
    check_nothing_left(project)


def test_losing_the_engine_during_a_gate_gives_no_verdict(make_project: MakeProject) -> None:
    def leave(process: Process) -> int:
        project.engine.is_away = not returned
        return 0 if process.path("task-1.txt").exists() else 1

    returned: list[bool] = [True]  # the base run comes first
    project = make_project(
        {("1", 1): (*works("1"), lambda process: returned.clear())}, gates={"check 1": leave}
    )
    report = project.run()
    assert (report.status, report.exit_code) == ("parked", 4)
    returned.append(True)
    project.engine.is_away = False
    resumed = project.resume()
    assert resumed.status == "completed"
    assert len(project.agent.attempts) == 1
    check_nothing_left(project)


def test_another_process_cancels_during_an_attempt(make_project: MakeProject) -> None:
    project = make_project({("1", 1): (writes("a.txt", "begun\n"), waits(7200))})

    async def run_and_cancel() -> RunReport:
        running = asyncio.ensure_future(run(project.host, RunRequest(plan=PLAN)))
        await project.clock.sleep(300)
        assert (await cancel(project.host, PLAN)).end is not None
        return await running

    report = project.do(run_and_cancel())
    assert (report.status, report.exit_code) == ("cancelled", 130)
    assert ends(project, report)[-1][0] == "interrupted"
    assert bodies(project, report, TreeSaved)
    assert project.clock.monotonic() < 700
    again = project.run(allow_dirty=True)
    assert (again.run != report.run, again.status) == (True, "completed")


def test_a_question_waits_for_its_answer(make_project: MakeProject) -> None:
    asking = reports("needs_human", question="Tabs or spaces?", options=["tabs", "spaces"])
    project = make_project({("1", 1): (writes("a.txt", "x"), asking)}, tasks=("1", "2"))
    report = project.run()
    assert (report.status, report.exit_code) == ("waiting", 3)
    (asked,) = bodies(project, report, QuestionAsked)
    assert isinstance(asked, QuestionAsked)
    assert (asked.text, asked.options) == ("Tabs or spaces?", ("tabs", "spaces"))
    assert [attempt.task for attempt in project.agent.attempts] == ["1"]


def test_a_listener_that_raises_misses_its_fact_and_the_run_continues(make_project: MakeProject) -> None:
    received: list[int] = []

    def broken(fact: Fact) -> None:
        received.append(fact.n)
        raise RuntimeError("a listener's bug")

    project = make_project()
    report = project.run(listeners=(broken,))
    assert report.status == "completed"
    assert received == [fact.n for fact in project.facts(report.run)]


def test_after_three_attempts_a_task_has_failed_and_those_after_it_wait(make_project: MakeProject) -> None:
    project = make_project({("1", number): (exits(1),) for number in (1, 2, 3)}, tasks=("1", "2"))
    report = project.run()
    assert (report.status, report.exit_code) == ("failed", 1)
    (finished,) = bodies(project, report, TaskFinished)
    assert isinstance(finished, TaskFinished) and finished.status == "failed"
    assert len(project.agent.attempts) == 3
    assert project.resume().status == "completed"
    assert [attempt.number for attempt in project.agent.attempts] == [1, 2, 3, 4, 1]


def test_changes_between_two_runs_are_committed_with_the_user_as_author(make_project: MakeProject) -> None:
    project = make_project({("1", 1): (hits_limit("usage_limit"),)})
    parked = project.run()
    assert parked.status == "parked", parked.reason
    (project.folder / "mine.txt").write_text("by hand\n")
    resumed = project.resume()
    assert resumed.status == "completed", resumed.reason
    added = project.git("log", "--format=%s", "--diff-filter=A", "work", "--", "mine.txt")
    assert added == "Changes by hand before task 1"
    check_nothing_left(project)


def test_undo_moves_the_branch_and_resume_repeats_the_task(make_project: MakeProject) -> None:
    project = make_project(tasks=("1", "2"))
    project.run()
    before = project.git("rev-parse", "work~1")
    assert [entry.task for entry in project.undo("2").undone] == ["2"]
    assert project.git("rev-parse", "work") == before
    assert project.resume().status == "completed"
    assert [attempt.task for attempt in project.agent.attempts] == ["1", "2", "2"]
    check_nothing_left(project)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_an_agent_fills_parks_the_run(make_project: MakeProject, tmp_path: Path) -> None:
    def fill(process: Process) -> None:
        with process.path("/run/orchestrator/out/fill").open("wb") as file:
            try:
                while file.write(bytes(1_000_000)):
                    pass
            except OSError:
                pass

    project = make_project({("1", 1): (*works("1"), fill)})
    small = Path(project.environ["XDG_STATE_HOME"])
    small.mkdir()
    size = f"size={DISK_BYTES // 1_000_000 + 40}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(StorageError, match="Free some space"):
            project.run()
        (full,) = project.state.rglob("fill")
        full.unlink()
        assert project.resume().status == "completed"
        check_nothing_left(project)
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
