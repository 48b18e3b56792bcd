"""Commands that are not in the plan: found in the project, or named by the agent's outcome."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.run.cross_checks import find_proof
from orchestrator.run.facts import BaseChecked, CrossChecked, GateEnded, Notice
from orchestrator.run.report import RunReport
from orchestrator.testing.agent import ScriptedAgent, Step, reports, writes
from orchestrator.testing.processes import Process, Program
from orchestrator.testing.project import TemporaryProject, file_exists, plan_of

Attempts = Mapping[tuple[str, int], tuple[Step, ...]]
MakeProject = Callable[..., TemporaryProject]
MAKEFILE = "test:\n\tsh tests/run.sh\n"


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[MakeProject]:
    with ExitStack() as stack:

        def make(
            attempts: Attempts | None = None,
            files: Mapping[str, str] | None = None,
            kind: str = "CODING",
            **more: Any,
        ) -> TemporaryProject:
            plan = more.pop("plan", plan_of(("1",)).partition("**Verify:**")[0].replace("CODING", kind))
            programs: dict[str, Program] = {"true": lambda _: 0, **more.pop("gates", {})}
            project = TemporaryProject(
                tmp_path, agent=ScriptedAgent(attempts), plan=plan, gates=programs, **more
            )
            stack.enter_context(project)
            for path, text in (files or {}).items():
                (project.folder / path).write_text(text)
            if files:
                project.git("add", "-A")
                project.git("commit", "-q", "-m", "files")
            return project

        yield make


def bodies(project: TemporaryProject, report: RunReport, kind: type) -> list[Any]:
    return [fact.body for fact in project.facts(report.run) if isinstance(fact.body, kind)]


def notices(project: TemporaryProject, report: RunReport) -> str:
    return "\n".join(body.text for body in bodies(project, report, Notice))


def ends(report: RunReport, task: str = "1") -> tuple[str | None, str | None]:
    finished = report.state.tasks[task].finished
    return (None, None) if finished is None else (finished.verification, finished.reason)


def proofs(report: RunReport, task: str = "1") -> list[str | None]:
    known = report.state.tasks[task]
    assert known.last is not None
    return [find_proof(report.state, known, known.last, gate) for gate in known.last.gates]


def test_the_projects_own_tests_check_a_task_without_a_check(make_project: MakeProject) -> None:
    project = make_project(files={"Makefile": MAKEFILE}, gates={"make test": lambda _: 0})
    report = project.run()
    assert report.status == "completed" and ends(report)[0] == "verified"
    (gate,) = bodies(project, report, GateEnded)
    assert (gate.gate, gate.command, gate.source) == ("verify-1", "make test", "discovered")
    assert "1 of 1 tasks has no check in the plan. `make test` was found" in notices(project, report)
    assert "unverified" not in notices(project, report)


def test_tests_that_fail_before_the_work_are_left_out(make_project: MakeProject) -> None:
    project = make_project(files={"Makefile": MAKEFILE}, gates={"make test": lambda _: 2})
    report = project.run()
    assert report.status == "completed" and ends(report) == ("unverified", "it has no check")
    (on_base,) = bodies(project, report, BaseChecked)
    assert (on_base.before, on_base.source) == ("red", "discovered")
    assert bodies(project, report, GateEnded) == []
    assert "`make test` fails with exit code 2 before the work" in notices(project, report)
    assert "fails now" not in project.agent.attempts[0].prompt, "the agent is not asked to repair it"


def test_a_task_is_refused_if_what_was_found_is_left_out_and_a_check_is_required(
    make_project: MakeProject,
) -> None:
    project = make_project(
        files={"Makefile": MAKEFILE},
        gates={"make test": lambda _: 2},
        settings="[verify]\nrequire = true\n",
    )
    report = project.run()
    assert (report.status, report.exit_code) == ("failed", 2)
    assert report.reason is not None and "verify.require" in report.reason and "1" in report.reason
    assert project.agent.attempts == []


def test_discovery_can_be_turned_off(make_project: MakeProject) -> None:
    project = make_project(files={"Makefile": MAKEFILE}, gates={"make test": lambda _: 0})
    project.environ["ORCHESTRATOR_VERIFY_DISCOVER"] = "false"
    report = project.run()
    assert ends(report) == ("unverified", "it has no check")
    assert "1 of 1 tasks has no check and will be unverified" in notices(project, report)


def test_an_attempt_cannot_choose_what_checks_it(make_project: MakeProject) -> None:
    works = (writes("Makefile", "test:\n\ttrue\n"), reports("failed"))
    project = make_project({("1", 1): works}, settings="[limits]\nattempts = 1\n")
    assert project.run().status == "failed"
    report = project.resume()
    assert [body.source for body in bodies(project, report, GateEnded)] == []


def test_a_plans_own_command_comes_before_discovery(make_project: MakeProject) -> None:
    project = make_project(
        plan=plan_of(("1",)), files={"Makefile": MAKEFILE}, gates={"make test": lambda _: 0}
    )
    report = project.run()
    assert [body.command.strip() for body in bodies(project, report, GateEnded)] == ["check 1"]


NEW = {"look": file_exists("new.txt")}


def test_a_command_of_the_outcome_that_fails_without_the_work_verifies_it(make_project: MakeProject) -> None:
    works = (writes("new.txt", "x"), reports(checks=["look", "look "]))
    project = make_project({("1", 1): works}, gates=NEW)
    report = project.run()
    assert ends(report) == ("verified", None)
    (gate,) = bodies(project, report, GateEnded)
    assert (gate.gate, gate.source) == ("agent-1", "agent")
    (corner,) = bodies(project, report, CrossChecked)
    assert (corner.corner, corner.result) == ("fail_to_pass", "fail")


def test_one_that_passes_without_the_work_verifies_nothing(make_project: MakeProject) -> None:
    works = (writes("new.txt", "x"), reports(checks=["true"]))
    report = make_project({("1", 1): works}).run()
    assert report.status == "completed"
    verification, reason = ends(report)
    assert verification == "unverified" and reason is not None and "passes without the work" in reason
    assert proofs(report) == ["vacuous"]


def test_a_failing_command_of_the_outcome_is_a_failed_gate(make_project: MakeProject) -> None:
    works = {
        ("1", 1): (writes("a.txt", "x"), reports(checks=["look"])),
        ("1", 2): (writes("new.txt", "x"), reports(checks=["look"])),
    }
    project = make_project(works, gates=NEW)
    report = project.run()
    assert report.status == "completed" and len(project.agent.attempts) == 2
    assert "This command failed with exit code 1" in project.agent.attempts[1].prompt


def test_one_that_calls_what_the_work_has_made_verifies_nothing(make_project: MakeProject) -> None:
    works = (writes("tool.py", "x"), reports(checks=["python tool.py"]))
    project = make_project({("1", 1): works}, gates={"python tool.py": file_exists("tool.py")})
    verification, reason = ends(project.run())
    assert verification == "unverified" and reason is not None and "runs what it has changed" in reason


def test_a_validation_is_verified_by_a_command_that_needs_the_code(make_project: MakeProject) -> None:
    works = (writes("notes.txt", "x"), reports(checks=["look"]))
    project = make_project({("1", 1): works}, kind="VALIDATION", files={"new.txt": "x"}, gates=NEW)
    report = project.run()
    assert (ends(report), proofs(report)) == (("verified", None), ["already_green"])


def test_a_guard_that_the_outcome_names_is_one_gate(make_project: MakeProject) -> None:
    works = (writes("new.txt", "x"), reports(checks=["true", "look"]))
    project = make_project({("1", 1): works}, gates=NEW, settings="[verify]\ntask = ['true']\n")
    report = project.run()
    assert [(each.gate, each.source) for each in bodies(project, report, GateEnded)] == [
        ("verify-1", "configured"),
        ("agent-1", "agent"),
    ]
    assert ends(report) == ("verified", None)


STRICT = "[verify]\nstrict = true\n"


def test_strict_wants_a_command_that_fails_without_the_work(make_project: MakeProject) -> None:
    def suite(process: Process) -> int:
        tests = [path.read_text() for path in process.path("tests").glob("*")]
        return int(any(not process.path(wanted).exists() for wanted in tests))

    works = {
        ("1", 1): (writes("new.txt", "x"), reports()),
        ("1", 2): (writes("tests/a", "new.txt"), reports()),
    }
    project = make_project(
        works, plan=plan_of(("1",)).replace("check 1", "suite"), gates={"suite": suite, "z": lambda _: 0}
    )
    project.environ["ORCHESTRATOR_VERIFY_STRICT"] = "true"
    refused = project.run()
    assert (refused.status, refused.exit_code) == ("failed", 2), "it passes without any file"
    assert refused.reason is not None and "verify.strict" in refused.reason and project.agent.attempts == []


def test_the_agent_reads_why_strict_does_not_accept_its_work(make_project: MakeProject) -> None:
    def suite(process: Process) -> int:
        tests = [path.read_text() for path in process.path("tests").glob("*")]
        return int(not tests or any(not process.path(wanted).exists() for wanted in tests))

    works = {
        ("1", 1): (writes("new.txt", "x"), reports()),
        ("1", 2): (writes("tests/a", "new.txt"), reports()),
    }
    project = make_project(
        works,
        plan=plan_of(("1",)).replace("check 1", "suite"),
        gates={"suite": suite},
        settings=STRICT,
    )
    (project.folder / "tests").mkdir()
    (project.folder / "tests/old").write_text("plan.md")
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "tests")
    report = project.run()
    assert report.status == "completed" and len(project.agent.attempts) == 2
    assert "no check of the task fails without its work" in project.agent.attempts[1].prompt
    assert proofs(report) == ["discriminating"]
