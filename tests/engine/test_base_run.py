"""Before any agent: what must not be broken is green, every command runs once, and a refusal says why."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.tables import base_table
from orchestrator.errors import UsageError
from orchestrator.gates.evidence import load
from orchestrator.project.catalog import open_catalog
from orchestrator.run.facts import BaseChecked, Fact, GateEnded
from orchestrator.run.report import RunReport, base_json, run_json
from orchestrator.testing.agent import ScriptedAgent, Step, reports, writes
from orchestrator.testing.processes import Process, Program
from orchestrator.testing.project import PLAN, TemporaryProject, plan_of

SUITE = '[verify]\ntask = ["suite"]\n'


class Commands:
    """Gates that say how they end, and how often each of them has run."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()

    def ending(self, name: str, exit_code: int, output: str = "") -> Program:
        def run(process: Process) -> int:
            self.ran[name] += 1
            process.print(output)
            return exit_code

        return run

    def passing_with(
        self, name: str, path: str, otherwise: Callable[[Process], str] | None = None
    ) -> Program:
        """Passes when the commit has this file; fails with the same output otherwise."""

        def run(process: Process) -> int:
            self.ran[name] += 1
            if process.path(path).exists():
                return 0
            process.print("FAILED test_a" if otherwise is None else otherwise(process))
            return 1

        return run


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[..., TemporaryProject]]:
    with ExitStack() as stack:

        def make(
            attempts: dict[tuple[str, int], tuple[Step, ...]] | None = None, **more: Any
        ) -> TemporaryProject:
            base = more.pop("base", None)
            project = TemporaryProject(tmp_path, agent=ScriptedAgent(attempts), **more)
            if base is not None:
                # A weaker rule than the default counts in the repository's file only with approval.
                project.environ["ORCHESTRATOR_VERIFY_BASE"] = base
            return stack.enter_context(project)

        yield make


MakeProject = Callable[..., TemporaryProject]


def checks(project: TemporaryProject, report: RunReport) -> dict[str, str]:
    """Each command with its result before the work."""
    found = [fact.body for fact in project.facts(report.run)]
    return {body.command.strip(): body.before for body in found if isinstance(body, BaseChecked)}


def gates(project: TemporaryProject, report: RunReport) -> list[GateEnded]:
    return [fact.body for fact in project.facts(report.run) if isinstance(fact.body, GateEnded)]


def test_a_red_guard_ends_the_run_before_any_attempt(make_project: MakeProject, commands: Commands) -> None:
    project = make_project(settings=SUITE, gates={"suite": commands.ending("suite", 1, "1 test failed")})
    report = project.run()
    assert (report.status, report.exit_code) == ("failed", 2)
    assert report.state.end is not None and report.state.end.cause == "base_red"
    assert report.reason is not None
    for expected in (
        "suite: exit code 1 (evidence e1)",
        "| 1 test failed",
        "verify.base=no_worse",
        report.run,
    ):
        assert expected in report.reason, report.reason
    assert project.agent.attempts == [] and commands.ran["suite"] == 1
    assert project.git("branch", "--list", "work") == ""
    assert project.git("for-each-ref", "refs/ktrdr") == ""
    stored = load(project.state / "runs" / report.run / "evidence", "e1")
    assert stored is not None and stored.output == "1 test failed\n"


def test_all_red_guards_are_named(make_project: MakeProject, commands: Commands) -> None:
    project = make_project(
        settings='[verify]\ntask = ["suite", "lint", "types"]\n',
        gates={
            "suite": commands.ending("suite", 1),
            "lint": commands.ending("lint", 0),
            "types": commands.ending("types", 127, "bash: line 1: mypy: command not found"),
        },
    )
    reason = project.run().reason or ""
    assert reason.startswith("2 commands of verify.task fail before any work")
    assert "suite: exit code 1" in reason and "types: exit code 127" in reason and "lint" not in reason
    assert (
        "the program mypy. Add it to a lock file that setup reads, or install it in setup.commands." in reason
    )


PROVIDED = {
    "pytest": "setup.commands",
    "./check.sh": "./check.sh. It is a file of the project: commit it",
    "nosuchprogram": "image.packages",
}


@pytest.mark.parametrize(("program", "advice"), PROVIDED.items(), ids=PROVIDED)
def test_a_missing_program_names_what_provides_it(
    make_project: MakeProject, commands: Commands, program: str, advice: str
) -> None:
    lacks = commands.ending("suite", 127, f"bash: line 1: {program}: No such file or directory")
    reason = make_project(settings=SUITE, gates={"suite": lacks}).run().reason or ""
    assert advice in reason


def test_a_refused_run_is_never_resumed_and_is_not_the_latest(
    make_project: MakeProject, commands: Commands
) -> None:
    broken = {"now": True}

    def suite(process: Process) -> int:
        return 1 if broken["now"] else 0

    project = make_project(settings=SUITE, gates={"suite": suite})
    refused = project.run()
    with pytest.raises(UsageError, match="no unfinished run"):
        project.resume()
    with pytest.raises(UsageError, match="is failed"):
        project.resume(refused.run)
    broken["now"] = False
    completed = project.run()
    assert completed.status == "completed" and completed.run != refused.run
    broken["now"] = True
    again = project.run(new=True)
    assert again.exit_code == 2
    with open_catalog(project.host) as runs:
        assert runs.find(PLAN).run == completed.run
        assert {state.run for state in runs.runs_around(project.folder, whole=False)} == {
            refused.run,
            completed.run,
            again.run,
        }
    assert project.run().run == completed.run


def test_a_tasks_own_command_may_be_red(make_project: MakeProject, commands: Commands) -> None:
    project = make_project(settings=SUITE, gates={"suite": commands.ending("suite", 0)})
    report = project.run()
    assert report.status == "completed"
    assert checks(project, report) == {"suite": "already_green", "check 1": "red"}


def test_a_guard_that_is_a_tasks_own_command_is_one_gate_and_must_be_green(
    make_project: MakeProject, commands: Commands
) -> None:
    project = make_project(
        settings='[verify]\ntask = ["check 1"]\n', gates={"check 1": commands.ending("check 1", 1)}
    )
    report = project.run()
    assert report.exit_code == 2 and commands.ran["check 1"] == 1
    (row,) = base_json(report.state)["gates"]
    assert (row["task"], row["source"], row["before"]) == ("1", "task", "red")


@pytest.mark.parametrize(("exit_code", "expected"), [(5, "completed"), (4, "failed"), (2, "failed")])
def test_only_no_tests_yet_excuses_a_guard(
    make_project: MakeProject, commands: Commands, exit_code: int, expected: str
) -> None:
    project = make_project(
        settings='[verify]\ntask = ["pytest"]\n', gates={"pytest": commands.ending("pytest", exit_code)}
    )
    report = project.run()
    assert report.status == expected
    assert checks(project, report)["pytest"] == ("absent" if expected == "completed" else "red")


def test_every_command_runs_once_for_all_tasks(make_project: MakeProject, commands: Commands) -> None:
    tasks = tuple(str(number) for number in range(1, 6))
    plan = plan_of(tasks)
    for task in tasks:
        plan = plan.replace(f"check {task}\n```", f"check {task}\n```\n```bash\nlint\n```")
    project = make_project(
        plan=plan,
        tasks=tasks,
        settings=SUITE,
        gates={"suite": commands.ending("suite", 0), "lint": commands.ending("lint", 0)},
    )
    report = project.run(only_base=True)
    assert report.status == "completed"
    assert commands.ran == {"suite": 1, "lint": 1}
    assert set(checks(project, report)) == {"suite", "lint", *(f"check {task}" for task in tasks)}


def test_the_base_alone_leaves_nothing(make_project: MakeProject, commands: Commands) -> None:
    project = make_project(settings=SUITE, gates={"suite": commands.ending("suite", 0)})
    report = project.run(only_base=True)
    assert (report.status, report.exit_code) == ("completed", 0)
    assert project.agent.attempts == []
    assert project.git("branch", "--list", "work") == ""
    assert project.git("for-each-ref", "refs/ktrdr") == ""
    with pytest.raises(UsageError, match="no unfinished run"):
        project.resume()
    shown = base_json(report.state)
    assert (shown["run"], shown["plan"]) == (report.run, PLAN)
    assert shown["commit"] == project.git("rev-parse", "HEAD") and shown["image"]
    rows = [
        (row["task"], row["gate"], row["source"], row["before"], row["exit_code"]) for row in shown["gates"]
    ]
    assert rows == [
        (None, "guard-1", "configured", "already_green", 0),
        ("1", "verify-1", "task", "red", 1),
    ]


def test_the_milestones_commands_run_on_the_base_and_may_be_red(
    make_project: MakeProject, commands: Commands
) -> None:
    settings = '[verify]\ntask = ["suite"]\nmilestone = ["journey", "suite"]\n'
    gates = {"suite": commands.ending("suite", 0), "journey": commands.ending("journey", 1)}
    project = make_project(settings=settings, gates=gates)
    report = project.run(only_base=True)
    assert (report.status, report.exit_code) == ("completed", 0)
    row = next(row for row in base_json(report.state)["gates"] if row["command"].strip() == "journey")
    assert (row["task"], row["gate"], row["source"], row["before"]) == (None, "e2e-1", "configured", "red")
    assert commands.ran == {"suite": 1, "journey": 1}
    assert "end to end" in base_table(report.state)


def test_a_scenario_says_how_its_commands_ended_before_the_work(
    make_project: MakeProject, commands: Commands
) -> None:
    settings = '[verify]\nmilestone = ["journey", "suite"]\n'
    gates = {"suite": commands.ending("suite", 0), "journey": commands.passing_with("journey", "task-1.txt")}
    project = make_project(settings=settings, gates=gates)
    report = project.run()
    assert report.status == "completed"
    ended = [fact.body for fact in project.facts(report.run) if isinstance(fact.body, GateEnded)]
    found = {gate.gate: (gate.verdict, gate.before) for gate in ended if gate.gate.startswith("e2e-")}
    assert found == {"e2e-1": ("pass", "red"), "e2e-2": ("pass", "already_green")}


def test_the_base_alone_is_refused_as_a_run_is(make_project: MakeProject, commands: Commands) -> None:
    project = make_project(settings=SUITE, gates={"suite": commands.ending("suite", 3)})
    report = project.run(only_base=True)
    assert (report.status, report.exit_code) == ("failed", 2)
    assert report.state.end is not None and report.state.end.cause == "base_red"


def test_an_unfinished_run_stays_the_latest_beside_a_base_run(
    make_project: MakeProject, commands: Commands
) -> None:
    project = make_project(
        {("1", number): (reports("failed", summary="no"),) for number in (1, 2, 3)},
        settings=SUITE,
        gates={"suite": commands.ending("suite", 0)},
    )
    failed = project.run()
    assert failed.status == "failed" and failed.exit_code == 1
    assert project.run(only_base=True).run != failed.run
    assert project.run().run == failed.run


def test_what_was_green_within_a_day_is_taken_over(make_project: MakeProject, commands: Commands) -> None:
    settings = '[verify]\ntask = ["suite", "lint"]\n'
    lint = {"exit": 1}

    def run_lint(process: Process) -> int:
        commands.ran["lint"] += 1
        process.print("W1 found")
        return lint["exit"]

    project = make_project(
        settings=settings, gates={"suite": commands.ending("suite", 0, "12 passed"), "lint": run_lint}
    )
    first = project.run(only_base=True)
    assert first.exit_code == 2
    project.clock.advance(60 * 12)
    second = project.run(only_base=True)
    # It fails as it did when the suite ran before it, so the suite does not run again to make sure.
    assert second.exit_code == 2 and commands.ran == {"suite": 1, "lint": 2}
    row = base_json(second.state)["gates"][0]
    assert row["reused"] == f"{first.run}/e1" and 12 * 60 <= row["age_seconds"] < 13 * 60
    stored = load(project.state / "runs" / second.run / "evidence", row["evidence"])
    assert stored is not None and stored.output == "12 passed\n"
    lint["exit"] = 0
    assert project.run().status == "completed"
    assert commands.ran["lint"] == 3 + 1  # once on the base, once on the candidate
    assert commands.ran["suite"] == 1 + 1  # on the candidate only


def test_a_command_that_needs_what_another_leaves_gets_it(
    make_project: MakeProject, commands: Commands
) -> None:
    """The first result is taken over, and the second command cannot do without its files."""
    flaky = {"exit": 7}

    def build(process: Process) -> int:
        commands.ran["build"] += 1
        process.path("made").write_text("x")
        return 0

    def suite(process: Process) -> int:
        commands.ran["suite"] += 1
        if not process.path("made").exists():
            process.print("nothing is built")
            return 1
        return flaky["exit"]

    project = make_project(
        settings='[verify]\ntask = ["build", "suite"]\n', gates={"build": build, "suite": suite}
    )
    assert project.run(only_base=True).exit_code == 2
    flaky["exit"] = 0
    assert project.run(only_base=True).exit_code == 0
    assert commands.ran == {"build": 2, "suite": 3}


def test_an_old_or_another_result_is_not_taken_over(make_project: MakeProject, commands: Commands) -> None:
    project = make_project(settings=SUITE, gates={"suite": commands.ending("suite", 0)})
    project.run(only_base=True)
    project.clock.advance(timedelta(days=1, minutes=1).total_seconds())
    project.run(only_base=True)
    assert commands.ran["suite"] == 2
    project.run(only_base=True, config=("verify.timeout=77",))
    assert commands.ran["suite"] == 3
    (project.folder / "other.txt").write_text("x")
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "other")
    project.run(only_base=True)
    assert commands.ran["suite"] == 4


def test_an_attempt_that_leaves_the_same_files_is_not_checked_again(
    make_project: MakeProject, commands: Commands
) -> None:
    wrong = (writes("wrong.txt", "x"), reports())
    project = make_project(
        {("1", 1): wrong, ("1", 2): wrong},
        settings=SUITE,
        gates={"suite": commands.ending("suite", 0, "fine")},
    )
    report = project.run()
    assert report.status == "completed"
    assert commands.ran["suite"] == 1 + 2
    first, second, third = (gates(project, report)[number : number + 2] for number in (0, 2, 4))
    assert [gate.reused for gate in second] == [gate.evidence for gate in first]
    assert [gate.verdict for gate in second] == [gate.verdict for gate in first] == ["fail", "pass"]
    assert [gate.reused for gate in third] == [None, None]
    stored = load(project.state / "runs" / report.run / "evidence", second[1].evidence)
    assert stored is not None and stored.output == "fine\n"


def test_resume_runs_the_gates_again(make_project: MakeProject, commands: Commands) -> None:
    flaky = {"exit": 1}

    def check(process: Process) -> int:
        commands.ran["check"] += 1
        return flaky["exit"]

    project = make_project(settings="[limits]\nattempts = 1\n", gates={"check 1": check})
    assert project.run().status == "failed"
    flaky["exit"] = 0
    assert project.resume().status == "completed"
    assert commands.ran["check"] == 3 and len(project.agent.attempts) == 1


def test_fail_fast_skips_the_commands_after_the_first_failure(
    make_project: MakeProject, commands: Commands
) -> None:
    settings = '[verify]\ntask = ["suite"]\nfail_fast = true\n'
    project = make_project(
        {("1", 1): (writes("wrong.txt", "x"), reports())},
        settings=settings,
        gates={"suite": commands.ending("suite", 0)},
    )
    report = project.run()
    assert report.status == "completed"
    assert [(gate.gate, gate.verdict) for gate in gates(project, report)] == [
        ("verify-1", "fail"),
        ("verify-1", "pass"),
        ("verify-2", "pass"),
    ]


def test_skipped_commands_have_no_evidence(make_project: MakeProject, commands: Commands) -> None:
    settings = '[verify]\ntask = ["suite"]\nfail_fast = true\n[limits]\nattempts = 1\n'
    project = make_project(
        {("1", 1): (writes("wrong.txt", "x"), reports())},
        settings=settings,
        gates={"suite": commands.ending("suite", 0)},
    )
    report = project.run()
    last = report.state.tasks["1"].last
    assert report.status == "failed" and last is not None and last.candidate is not None
    ran = [gate.evidence for gate in last.gates]
    assert set(last.skipped_evidence) == {*last.candidate.evidence} - {*ran} != set()
    assert run_json(report.state, None)["tasks"][0]["evidence"] == ran


def test_a_guard_that_fails_as_before_counts_as_passed(make_project: MakeProject, commands: Commands) -> None:
    project = make_project(
        settings=SUITE, base="no_worse", gates={"suite": commands.passing_with("suite", "never")}
    )
    report = project.run()
    assert report.status == "completed"
    own, guard = gates(project, report)
    assert (own.before, own.verdict) == (None, "pass")
    assert (guard.before, guard.verdict, guard.exit_code, guard.source) == ("red", "pass", 1, "configured")


def test_a_new_failure_of_a_red_guard_counts(make_project: MakeProject, commands: Commands) -> None:
    def list_failures(process: Process) -> str:
        return "FAILED test_a" + ("\nFAILED test_b" if process.path("task-1.txt").exists() else "")

    suite = commands.passing_with("suite", "never", list_failures)
    project = make_project(
        settings=SUITE + "[limits]\nattempts = 1\n", base="no_worse", gates={"suite": suite}
    )
    report = project.run()
    assert (report.status, report.exit_code) == ("failed", 1)
    assert gates(project, report)[1].verdict == "fail"


def test_a_guard_that_a_task_has_made_green_stays_green(
    make_project: MakeProject, commands: Commands
) -> None:
    def suite(process: Process) -> int:
        has = [process.path(f"task-{task}.txt").exists() for task in "12"]
        process.print("FAILED test_a")
        return 0 if has == [True, False] else 1

    project = make_project(
        tasks=("1", "2"), settings=SUITE + "[limits]\nattempts = 1\n", base="no_worse", gates={"suite": suite}
    )
    report = project.run()
    assert report.status == "failed"
    assert [task.finished.status for task in report.state.tasks.values() if task.finished] == [
        "completed",
        "failed",
    ]
    assert gates(project, report)[-1].before == "already_green"


def test_with_any_a_failure_from_before_parks_the_run(make_project: MakeProject, commands: Commands) -> None:
    project = make_project(
        settings=SUITE, base="any", gates={"suite": commands.passing_with("suite", "never")}
    )
    report = project.run()
    assert report.status == "parked" and len(project.agent.attempts) == 1
    assert report.state.end is not None and report.state.end.cause == "base_red"
    assert report.reason is not None and "as it did before the work" in report.reason
    again = project.resume()
    assert again.status == "parked", "a resume is the user's word for one more attempt"
    assert len(project.agent.attempts) == 2


def test_the_base_of_a_task_after_the_users_edits_is_checked_when_it_matters(
    make_project: MakeProject, commands: Commands
) -> None:
    """The commit on which the second task begins is the user's, and no result is known of it."""

    def suite(process: Process) -> int:
        edited = process.path("edited.txt").exists()
        process.print("FAILED test_b" if edited else "FAILED test_a")
        return 1

    project = make_project(tasks=("1", "2"), settings=SUITE, base="no_worse", gates={"suite": suite})

    def edit(fact: Fact) -> None:
        if fact.body.kind == "task_finished" and fact.task == "1":
            (project.folder / "edited.txt").write_text("x")

    report = project.run(listeners=(edit,))
    assert report.status == "completed", report.reason
    assert [gate.verdict for gate in gates(project, report)] == ["pass"] * 4
