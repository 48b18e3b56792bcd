"""Fail-to-pass: a command that passed runs once more on the code from before the work."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import CodingAgentError
from orchestrator.run.cross_checks import find_proof
from orchestrator.run.facts import BaseChecked, CandidateMade, CrossChecked, GateEnded, NamesReserved
from orchestrator.run.report import RunReport
from orchestrator.testing.agent import ScriptedAgent, Step, reports, writes
from orchestrator.testing.processes import Process, Program
from orchestrator.testing.project import TemporaryProject, plan_of

Attempts = Mapping[tuple[str, int], tuple[Step, ...]]
MakeProject = Callable[..., TemporaryProject]
TEST = "tests/test_code.txt"


def suite(process: Process) -> int:
    """Each test names a file of the code, and what it holds; without tests it finds none."""
    tests = process.path("tests")
    wanted = [line.split() for test in sorted(tests.glob("*.txt")) for line in test.read_text().splitlines()]
    if not wanted:
        return 5
    held = [(process.path(name), text) for name, text in wanted]
    return int(any(not file.exists() or file.read_text() != text for file, text in held))


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[MakeProject]:
    with ExitStack() as stack:

        def make(
            attempts: Attempts | None = None,
            command: str = "suite",
            files: Mapping[str, str] | None = None,
            **more: Any,
        ) -> TemporaryProject:
            plan = plan_of(more.get("tasks", ("1",))).replace("check 1", command)
            gates: dict[str, Program] = {"suite": suite, "python -m pytest": suite, "true": lambda _: 0}
            gates |= more.pop("gates", {})
            project = TemporaryProject(
                tmp_path, agent=ScriptedAgent(attempts), plan=plan, gates=gates, **more
            )
            stack.enter_context(project)
            for path, text in (files or {}).items():
                (project.folder / path).parent.mkdir(parents=True, exist_ok=True)
                (project.folder / path).write_text(text)
            if files:
                project.git("add", "-A", "-f")
                project.git("commit", "-q", "-m", "files")
            return project

        yield make


def cross_checks(project: TemporaryProject, report: RunReport) -> list[CrossChecked]:
    return [fact.body for fact in project.facts(report.run) if isinstance(fact.body, CrossChecked)]


def results(project: TemporaryProject, report: RunReport) -> list[tuple[str, str, str]]:
    return [(each.corner, each.gate, each.result) for each in cross_checks(project, report)]


def proofs(report: RunReport, task: str = "1") -> list[str | None]:
    known = report.state.tasks[task]
    assert known.last is not None
    return [find_proof(report.state, known, known.last, gate) for gate in known.last.gates]


def test_nothing_runs_again_where_the_base_run_has_shown_it(make_project: MakeProject) -> None:
    project = make_project(command="check 1")
    report = project.run()
    assert report.status == "completed"
    assert results(project, report) == []
    assert proofs(report) == ["discriminating"], "no check file is new, so the base run has shown it"


def test_new_tests_run_on_the_code_from_before_the_work(make_project: MakeProject) -> None:
    works = (writes("code.txt", "new"), writes(TEST, "code.txt new\n"), reports())
    project = make_project({("1", 1): works})
    report = project.run()
    assert report.status == "completed"
    assert results(project, report) == [("fail_to_pass", "verify-1", "fail")]
    assert proofs(report) == ["discriminating"]
    made = next(fact.body for fact in project.facts(report.run) if isinstance(fact.body, CandidateMade))
    assert made.check_files == (TEST,)


def test_changed_tests_that_pass_on_the_old_code_prove_nothing(make_project: MakeProject) -> None:
    works = (writes("code.txt", "new"), writes(TEST, "other.txt old\n"), reports())
    project = make_project({("1", 1): works}, files={"other.txt": "old", TEST: "other.txt missing\n"})
    report = project.run()
    assert report.status == "completed"
    assert results(project, report) == [
        ("fail_to_pass", "verify-1", "pass"),
        ("empty_tree", "verify-1", "fail"),
    ]
    assert proofs(report) == ["already_green"]


def test_a_command_that_passes_without_any_file_is_vacuous(make_project: MakeProject) -> None:
    project = make_project({("1", 1): (writes("a.txt", "x"), reports())}, command="true")
    report = project.run()
    assert results(project, report) == [("empty_tree", "verify-1", "pass")]
    assert proofs(report) == ["vacuous"]


def test_a_later_task_is_compared_with_the_commit_it_started_on(make_project: MakeProject) -> None:
    both = (writes("task-1.txt", "x"), writes("task-2.txt", "x"), reports())
    more = (writes("more.txt", "x"), reports())
    project = make_project({("1", 1): both, ("2", 1): more}, command="check 1", tasks=("1", "2"))
    report = project.run()
    parent = report.state.tasks["2"].parent
    (found, empty) = cross_checks(project, report)
    assert (found.corner, found.result, found.commit) == ("fail_to_pass", "pass", parent)
    assert (empty.corner, empty.result) == ("empty_tree", "fail")
    assert (proofs(report), proofs(report, "2")) == (["discriminating"], ["already_green"])


def test_the_setting_turns_it_off(make_project: MakeProject) -> None:
    works = (writes("code.txt", "new"), writes(TEST, "code.txt new\n"), reports())
    project = make_project({("1", 1): works}, settings="[verify]\ntask = ['true']\n")
    project.environ["ORCHESTRATOR_VERIFY_RED_TO_GREEN"] = "false"
    report = project.run()
    assert report.status == "completed"
    assert results(project, report) == []
    assert proofs(report) == ["red", "already_green"], "only the base run is known"


def test_guards_are_not_asked(make_project: MakeProject) -> None:
    works = (writes("code.txt", "new"), writes(TEST, "code.txt new\n"), reports())
    project = make_project({("1", 1): works}, settings="[verify]\ntask = ['true']\n")
    report = project.run()
    assert results(project, report) == [("fail_to_pass", "verify-1", "fail")]
    assert proofs(report) == ["discriminating", "already_green"]


def test_compiled_python_of_the_old_code_does_not_decide(make_project: MakeProject) -> None:
    seen = []

    def look(process: Process) -> int:
        seen.append(sorted(path.name for path in process.path("pkg").rglob("*") if path.is_file()))
        return int(not process.path("code.txt").exists())

    works = (writes("code.txt", "new"), writes(TEST, "x"), reports())
    project = make_project(
        {("1", 1): works},
        command="look",
        gates={"look": look},
        files={"pkg/a.py": "", "pkg/__pycache__/a.pyc": "stale", "pkg/b.pyc": "stale"},
    )
    report = project.run()
    assert report.status == "completed"
    assert seen == [["a.py", "a.pyc", "b.pyc"], ["a.py", "a.pyc", "b.pyc"], ["a.py"]]


def test_a_check_script_is_laid_over_unless_the_task_asks_for_it(make_project: MakeProject) -> None:
    def script(process: Process) -> int:
        if not process.path("check.sh").exists():
            return 127
        return int(not process.path("code.txt").exists())

    works = (writes("code.txt", "new"), writes("check.sh", "test -f code.txt"), reports())
    project = make_project({("1", 1): works}, command="bash check.sh", gates={"bash check.sh": script})
    report = project.run()
    assert results(project, report) == [("fail_to_pass", "verify-1", "fail")]
    assert proofs(report) == ["discriminating"]


def test_a_script_that_the_task_asks_for_is_not_there_before_it(make_project: MakeProject) -> None:
    def script(process: Process) -> int:
        return 0 if process.path("check.sh").exists() else 127

    works = (writes("check.sh", "exit 0"), reports())
    plan = plan_of(("1",)).replace("check 1", "bash check.sh").replace("Write task-1.txt", "Write check.sh")
    project = make_project({("1", 1): works}, gates={"bash check.sh": script})
    (project.folder / "plan.md").write_text(plan)
    project.git("commit", "-qam", "plan")
    report = project.run()
    assert report.status == "completed"
    assert (results(project, report), proofs(report)) == ([], ["absent"])


def test_an_engine_that_fails_parks_the_run_and_nothing_lands(make_project: MakeProject) -> None:
    works = (writes("code.txt", "new"), writes(TEST, "code.txt new\n"), reports())
    project = make_project({("1", 1): works})
    create, made = project.engine.create, []

    async def refuse_third_gate(spec: Any) -> str:
        if spec.name.startswith("ktrdr-gate-"):
            made.append(spec.name)
            if len(made) == 3:
                raise CodingAgentError("no space left")
        return await create(spec)

    project.engine.create = refuse_third_gate  # type: ignore[method-assign]
    report = project.run()
    assert (report.status, report.exit_code) == ("parked", 4)
    assert report.state.end is not None and report.state.end.cause == "gate_unavailable"
    assert results(project, report) == [("fail_to_pass", "verify-1", "unavailable")]
    assert project.git("log", "--format=%s", "work").splitlines() == ["start"]
    again = project.resume()
    assert again.status == "completed"
    assert proofs(again) == ["discriminating"]


def test_no_two_checks_share_an_evidence_id(make_project: MakeProject) -> None:
    works = (writes("code.txt", "new"), writes(TEST, "code.txt new\n"), reports())
    project = make_project({("1", 1): works}, tasks=("1", "2"), settings="[verify]\ntask = ['true']\n")
    report = project.run()
    facts = [fact.body for fact in project.facts(report.run)]
    used = [body.evidence for body in facts if isinstance(body, BaseChecked | GateEnded | CrossChecked)]
    assert len(used) == len(set(used)) > 5
    reserved = [id for body in facts if isinstance(body, NamesReserved) for id in body.evidence]
    assert set(used) <= set(reserved)
    made = [body for body in facts if isinstance(body, CandidateMade)]
    checked = {body.evidence for body in facts if isinstance(body, CrossChecked)}
    assert checked and checked.isdisjoint(id for body in made for id in body.evidence)
