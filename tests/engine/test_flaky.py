"""A gate that fails in a new way runs again in a fresh container; the rounds decide together."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.run.facts import GateEnded
from orchestrator.run.proof import list_checks
from orchestrator.run.report import RunReport
from orchestrator.testing.agent import ScriptedAgent
from orchestrator.testing.processes import Process
from orchestrator.testing.project import TemporaryProject

MakeProject = Callable[..., TemporaryProject]
ONE = "[limits]\nattempts = 1\n"


class Rounds:
    """A command that ends as listed, one exit code a run; before the work it always fails in its own way."""

    def __init__(self, *exit_codes: int) -> None:
        self._exit_codes: Sequence[int] = exit_codes
        self.runs = 0

    def __call__(self, process: Process) -> int:
        if not process.path("task-1.txt").exists():
            process.print("nothing was done")
            return 1
        code = self._exit_codes[min(self.runs, len(self._exit_codes) - 1)]
        self.runs += 1
        process.print("it passes" if code == 0 else "a test timed out")
        return code


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[MakeProject]:
    with ExitStack() as stack:

        def make(command: Rounds, settings: str = ONE, **more: Any) -> TemporaryProject:
            gates = {"check 1": command, **more.pop("gates", {})}
            project = TemporaryProject(
                tmp_path, agent=ScriptedAgent(), gates=gates, settings=settings, **more
            )
            return stack.enter_context(project)

        yield make


def rounds(project: TemporaryProject, report: RunReport) -> list[tuple[int, str, bool]]:
    found = [fact.body for fact in project.facts(report.run) if isinstance(fact.body, GateEnded)]
    return [(body.round, body.verdict, body.flaky) for body in found if body.command.strip() == "check 1"]


def shown(report: RunReport) -> tuple[bool, int]:
    check = list_checks(report.state, report.state.tasks["1"])[0]
    return check.flaky, check.runs


@pytest.mark.parametrize(
    ("codes", "status", "expected"),
    [
        ((0,), "completed", [(1, "pass", False)]),
        ((1, 1), "failed", [(1, "fail", False), (2, "fail", False)]),
        ((1, 0, 0), "completed", [(1, "fail", False), (2, "pass", True), (3, "pass", True)]),
        ((1, 0, 1), "failed", [(1, "fail", False), (2, "pass", True), (3, "fail", True)]),
    ],
    ids=["pass", "fails twice", "two of three pass", "two of three fail"],
)
def test_the_rounds_decide(
    make_project: MakeProject, codes: tuple[int, ...], status: str, expected: list[tuple[int, str, bool]]
) -> None:
    command = Rounds(*codes)
    project = make_project(command)
    report = project.run()
    assert (report.status, rounds(project, report)) == (status, expected)
    assert shown(report) == (expected[-1][2], len(expected)) and command.runs == len(codes)


def test_a_failure_from_before_the_work_is_not_new(make_project: MakeProject) -> None:
    project = make_project(Rounds(1), gates={"check 1": lambda _: 1})
    report = project.run()
    assert rounds(project, report) == [(1, "fail", False)]


def test_a_failure_of_the_attempt_before_is_not_new(make_project: MakeProject) -> None:
    project = make_project(Rounds(1), "[limits]\nattempts = 2\n")
    report = project.run()
    assert Counter(each[0] for each in rounds(project, report)) == {1: 2, 2: 1}


def test_with_fail_nothing_runs_again(make_project: MakeProject) -> None:
    project = make_project(Rounds(1, 0, 0), ONE + '[verify]\nflaky = "fail"\n')
    report = project.run()
    assert (rounds(project, report), shown(report)) == ([(1, "fail", False)], (False, 1))


def test_the_commit_names_the_first_evidence_and_rounds_have_their_own(make_project: MakeProject) -> None:
    project = make_project(Rounds(1, 0, 0))
    report = project.run()
    found = [fact.body for fact in project.facts(report.run) if isinstance(fact.body, GateEnded)]
    ids = [body.evidence for body in found]
    assert len(set(ids)) == 3 and {body.given for body in found} == {ids[0]}
    assert f"Orchestrator-Evidence: {ids[0]}" in project.git("log", "-1", "--format=%B", "work")
    assert all((project.state / "runs" / report.run / "evidence" / id / "output").exists() for id in ids)
