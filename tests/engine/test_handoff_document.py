"""The hand-off document: the next agent reads it, no gate does, and nothing ignored is committed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.run.handoff import is_handoff, may_be_handoff
from orchestrator.testing.agent import ScriptedAgent, Step, works, writes
from orchestrator.testing.processes import Process
from orchestrator.testing.project import PLAN, TemporaryProject, plan_of

TASKS = ("1", "2")
DOCUMENT = "HANDOFF_plan.md"
SECTION = "<!-- hand-off of task 1 -->"
FOREIGN = f"# Hand-off: Another plan\n\n{SECTION}\n## Task 1: x\n<!-- end of task 1 -->\n"


def lists_no_handoff(process: Process) -> int:
    found = [path.name for path in process.path(".").rglob("HANDOFF*") if path.name != "HANDOFF_notes.md"]
    process.print(f"found: {found}")
    return 1 if found else 0


@contextmanager
def project_of(
    tmp_path: Path, *, ignore: str = "", steps: tuple[Step, ...] = (), path: str = PLAN
) -> Iterator[TemporaryProject]:
    agent = ScriptedAgent({("1", 1): (*steps, *works("1"))})
    gates = {"check 1": lists_no_handoff, "check 2": lists_no_handoff}
    with TemporaryProject(tmp_path, tasks=TASKS, agent=agent, gates=gates) as project:
        (project.folder / ".gitignore").write_text(ignore)
        project.git("add", "-A")
        project.git("commit", "-q", "--allow-empty", "-m", "ignore")
        if path != PLAN:
            (project.folder / path).parent.mkdir(parents=True)
            (project.folder / path).write_text(plan_of(TASKS))
        yield project


def committed(project: TemporaryProject) -> list[str]:
    return project.git("log", "--all", "--format=", "--name-only").split("\n")


def test_gates_see_no_handoff_document_and_the_commit_has_it(tmp_path: Path) -> None:
    with project_of(tmp_path) as project:
        (project.folder / "HANDOFF_first.md").write_text(FOREIGN)
        (project.folder / "HANDOFF_notes.md").write_text("# Our notes\n")
        project.git("add", "-A")
        project.git("commit", "-q", "-m", "an earlier plan")
        report = project.run()
        assert report.status == "completed", report.reason
        assert len(project.agent.attempts) == 2
        assert SECTION in project.git("show", f"work:{DOCUMENT}")
        assert project.git("status", "--porcelain") == ""
        project.git("fsck", "--strict")


@pytest.mark.parametrize(
    ("ignore", "path", "steps"),
    [
        ("HANDOFF_*\n", PLAN, ()),
        (".notes/\n", ".notes/x/plan.md", ()),
        (".notes/\n", ".notes/x/plan.md", (writes(".gitignore", ""),)),
    ],
    ids=["by name", "by folder", "by folder, and the agent empties .gitignore"],
)
def test_an_ignored_document_is_in_no_commit_and_in_the_next_prompt(
    tmp_path: Path, ignore: str, path: str, steps: tuple[Step, ...]
) -> None:
    with project_of(tmp_path, ignore=ignore, path=path, steps=steps) as project:
        report = project.run(plan=path)
        assert report.status == "completed", report.reason
        assert not [name for name in committed(project) if "HANDOFF" in name or name.startswith(".notes")]
        assert SECTION in project.agent.attempts[1].prompt
        assert not list(project.folder.rglob("HANDOFF*"))


def test_a_document_that_is_tracked_stays_tracked(tmp_path: Path) -> None:
    with project_of(tmp_path) as project:
        (project.folder / DOCUMENT).write_text(FOREIGN.replace("task 1", "task 0"))
        (project.folder / ".gitignore").write_text("HANDOFF_*\n")
        project.git("add", "-A", "-f")
        project.git("commit", "-q", "-m", "tracked and ignored")
        assert project.run().status == "completed"
        document = project.git("show", f"work:{DOCUMENT}")
        assert SECTION in document and "task 0" in document


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("docs/HANDOFF_m3.md", FOREIGN, True),
        ("docs/HANDOFF_m3.md", "# Hand-off\n\nCall Ada.\n", False),
        ("docs/notes.md", FOREIGN, False),
    ],
)
def test_what_counts_as_a_handoff_document(path: str, text: str, expected: bool) -> None:
    assert (may_be_handoff(path) and is_handoff(text)) == expected
