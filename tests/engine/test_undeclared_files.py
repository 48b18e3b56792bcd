"""When a task lands, the files that its plan does not name are stored with it."""

from pathlib import Path

from orchestrator.run.facts import TaskFinished
from orchestrator.testing.agent import ScriptedAgent, exits, works, writes
from orchestrator.testing.project import TemporaryProject, plan_of

PLAN = plan_of(("1", "2")).replace("**Type:** CODING", "**Type:** CODING\n**File(s):** `task-1.txt`", 1)


def test_files_that_the_plan_does_not_name_are_stored(tmp_path: Path) -> None:
    steps = (writes("src/other.py", "x = 1\n"), *works("1"), exits(0))
    more = (writes("src/more.py", "x = 1\n"), *works("2"), exits(0))
    with TemporaryProject(
        tmp_path, tasks=("1", "2"), plan=PLAN, agent=ScriptedAgent({("1", 1): steps, ("2", 1): more})
    ) as project:
        report = project.run()
        landed = [fact.body for fact in project.facts(report.run) if isinstance(fact.body, TaskFinished)]
    assert report.status == "completed"
    assert [each.undeclared_files for each in landed] == [("src/other.py",), ()], (
        "the orchestrator writes the hand-off"
    )
