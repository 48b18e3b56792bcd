"""Runs that wait for themselves, stop in time, or begin later: on the real runner, with a fake clock."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from orchestrator.commands.request import RunRequest, StartOptions
from orchestrator.commands.run import run
from orchestrator.journal.journal import Journal
from orchestrator.run.facts import (
    AttemptEnded,
    BaseChecked,
    CancelRequested,
    Fact,
    GateEnded,
    QuestionAnswered,
    RunEnded,
    RunResumed,
    RunWaiting,
)
from orchestrator.run.report import Owner, RunReport, run_status
from orchestrator.run.state import fold
from orchestrator.testing.agent import ScriptedAgent, hits_limit, reports, waits, writes
from orchestrator.testing.project import TemporaryProject

MINUTES = 60.0


def project_with(tmp_path: Path, attempts: dict[tuple[str, int], Any], **more: Any) -> TemporaryProject:
    return TemporaryProject(tmp_path, agent=ScriptedAgent(attempts), **more)


def times(project: TemporaryProject, run: str) -> list[tuple[str, float]]:
    """When each attempt began and each wait, in minutes since the start of the run."""
    facts = project.facts(run)
    began = datetime.fromisoformat(facts[0].at)
    kinds = ("attempt_started", "run_waiting", "run_ended")
    return [
        (fact.body.kind, (datetime.fromisoformat(fact.at) - began).total_seconds() / MINUTES)
        for fact in facts
        if fact.body.kind in kinds
    ]


def bodies(project: TemporaryProject, run: str, kind: type[Any]) -> list[Any]:
    return [fact.body for fact in project.facts(run) if isinstance(fact.body, kind)]


def test_a_limit_is_waited_for_and_costs_no_attempt(tmp_path: Path) -> None:
    until = datetime(2026, 1, 1, 12, 5, tzinfo=UTC)
    script = {("1", 1): [hits_limit("usage_limit", until.timestamp())]}
    with project_with(tmp_path, script, settings="[limits]\nattempts = 1\n") as project:
        report = project.run(wait=True)
        assert report.status == "completed"
        assert [kind for kind, _ in times(project, report.run)] == [
            *("attempt_started", "run_waiting", "attempt_started", "run_ended"),
        ]
        second = times(project, report.run)[2][1]
        assert 5 <= second <= 6.2
        assert [(w.cause, w.until[:16]) for w in bodies(project, report.run, RunWaiting)] == [
            ("usage_limit", "2026-01-01T12:05")
        ]
        assert not bodies(project, report.run, RunResumed)
        assert project.agent.attempts[1].resumed


def test_without_wait_a_limit_ends_the_run(tmp_path: Path) -> None:
    script = {("1", 1): [hits_limit("usage_limit", datetime(2026, 1, 1, 12, 5, tzinfo=UTC).timestamp())]}
    with project_with(tmp_path, script) as project:
        report = project.run()
        assert (report.status, report.exit_code) == ("parked", 4)
        assert not bodies(project, report.run, RunWaiting)


def test_the_waits_for_a_limit_without_a_reset_double(tmp_path: Path) -> None:
    script = {("1", number): [hits_limit("usage_limit")] for number in range(1, 5)}
    with project_with(tmp_path, script) as project:
        report = project.run(wait=True)
        assert report.status == "completed"
        waited = [at for kind, at in times(project, report.run) if kind == "run_waiting"]
        pauses = [later - earlier for earlier, later in pairwise(waited)]
        assert len(pauses) == 3
        assert 1 <= pauses[0] <= 2.2 and 2 <= pauses[1] <= 3.2 and 4 <= pauses[2] <= 5.2


def test_a_refused_credential_ends_a_run_that_waits(tmp_path: Path) -> None:
    with project_with(tmp_path, {("1", 1): [hits_limit("credential_refused")]}) as project:
        report = project.run(wait=True)
        assert (report.exit_code, report.state.end and report.state.end.cause) == (4, "credential_refused")


def test_a_living_owner_that_waits_is_shown_as_parked(tmp_path: Path) -> None:
    until = datetime(2026, 1, 1, 12, 5, tzinfo=UTC)
    with project_with(tmp_path, {("1", 1): [hits_limit("usage_limit", until.timestamp())]}) as project:
        report = project.run(wait=True)
        facts = list(project.facts(report.run))
        at = next(i for i, fact in enumerate(facts) if isinstance(fact.body, RunWaiting))
        state, owner = fold(facts[: at + 1]), Owner(pid=1, host="here", since="2026-01-01T12:00:00.000Z")
        assert run_status(state, owner) == "parked" and run_status(state, None) == "interrupted"
        assert run_status(fold(facts[: at + 2]), owner) == "running"


def run_beside(project: TemporaryProject, body: Any) -> RunReport:
    """Carry out a run with --wait; once it waits, another process appends this fact."""
    begun = asyncio.Event()
    waiting: list[Fact] = []

    def listen(fact: Fact) -> None:
        if isinstance(fact.body, RunWaiting):
            waiting.append(fact)
            begun.set()

    async def append() -> None:
        await begun.wait()
        journal = Journal.open(project.state / "journal.sqlite", project.clock)
        try:
            is_answer = isinstance(body, QuestionAnswered)
            task, attempt = ("1", 1) if is_answer else (None, None)
            await journal.append(waiting[0].run, body, task=task, attempt=attempt)
        finally:
            journal.close()

    async def both() -> RunReport:
        options = StartOptions(agent="command", wait=True, listeners=(listen,))
        beside = asyncio.ensure_future(append())
        report = await run(project.host, RunRequest(plan="plan.md", options=options))
        await beside
        return report

    return project.do(both())


def test_a_question_is_waited_for_until_it_is_answered(tmp_path: Path) -> None:
    script = {("1", 1): [reports("needs_human", question="Which?", options=["a", "b"])]}
    with project_with(tmp_path, script) as project:
        answer = QuestionAnswered(question="q1", by="answer", text="b")
        report = run_beside(project, answer)
        assert report.status == "completed"
        (waiting,) = bodies(project, report.run, RunWaiting)
        assert (waiting.cause, waiting.until) == ("question", None)
        assert project.agent.attempts[1].resumed and "b" in project.agent.attempts[1].prompt


def test_a_request_to_cancel_ends_the_wait(tmp_path: Path) -> None:
    until = datetime(2026, 1, 1, 12, 5, tzinfo=UTC)
    with project_with(tmp_path, {("1", 1): [hits_limit("usage_limit", until.timestamp())]}) as project:
        report = run_beside(project, CancelRequested())
        assert (report.status, report.exit_code) == ("cancelled", 130)
        assert times(project, report.run)[-1][1] < 5


def test_until_parks_the_attempt_and_saves_its_tree(tmp_path: Path) -> None:
    script = {("1", 1): [writes("half.txt", "half\n"), waits(5 * MINUTES)]}
    with project_with(tmp_path, script, settings="[limits]\nattempts = 1\n") as project:
        report = project.run(until=project.clock.now() + timedelta(minutes=2), wait=True)
        end = report.state.end
        assert end is not None
        assert (end.status, end.exit_code, end.cause, end.until) == ("parked", 4, "until", None)
        (ended,) = bodies(project, report.run, AttemptEnded)
        assert (ended.status, ended.cause) == ("parked", "until")
        assert 2 <= times(project, report.run)[-1][1] < 3
        assert any(fact.body.kind == "tree_saved" for fact in project.facts(report.run))
        assert project.resume().status == "completed"


def test_at_checks_first_and_works_later_with_the_results_on_the_base(tmp_path: Path) -> None:
    with project_with(tmp_path, {}) as project:
        report = project.run(at=project.clock.now() + timedelta(minutes=9))
        assert report.status == "completed"
        facts = project.facts(report.run)
        kinds = [fact.body.kind for fact in facts]
        assert kinds.index("base_checked") < kinds.index("run_waiting") < kinds.index("attempt_started")
        assert len(bodies(project, report.run, BaseChecked)) == 1 and bodies(project, report.run, GateEnded)
        (waiting,) = bodies(project, report.run, RunWaiting)
        assert (waiting.cause, waiting.until) == ("scheduled", "2026-01-01T12:09:00.000Z")
        assert 9 <= dict(times(project, report.run))["attempt_started"] < 10


def test_what_is_wrong_at_the_time_of_the_start_parks_the_run(tmp_path: Path) -> None:
    with project_with(tmp_path, {}, settings="[environment]\nrequired_files = ['needed.txt']\n") as project:
        needed = project.folder / "needed.txt"
        needed.write_text("x\n")
        project.git("add", "-A")
        project.git("commit", "-qm", "needed")

        def remove(_fact: object) -> None:
            if getattr(getattr(_fact, "body", None), "kind", "") == "run_waiting":
                needed.unlink()

        report = project.run(at=project.clock.now() + timedelta(minutes=9), listeners=(remove,))
        assert report.exit_code == 4 and "needed.txt" in str(report.reason)
        assert not project.agent.attempts


def test_until_ends_a_wait(tmp_path: Path) -> None:
    until = datetime(2026, 1, 1, 12, 5, tzinfo=UTC)
    with project_with(tmp_path, {("1", 1): [hits_limit("usage_limit", until.timestamp())]}) as project:
        report = project.run(wait=True, until=project.clock.now() + timedelta(minutes=1))
        (*_, end) = bodies(project, report.run, RunEnded)
        assert (end.cause, end.exit_code) == ("until", 4)
