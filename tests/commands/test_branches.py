"""Each plan has a branch of its own, also where every plan has the same file name."""

from collections.abc import Callable

import pytest

from orchestrator.errors import EnvironmentInvalid
from orchestrator.run.facts import Notice
from orchestrator.run.report import RunReport
from orchestrator.testing.project import TemporaryProject, plan_of

MakeProject = Callable[..., TemporaryProject]


def add_plan(project: TemporaryProject, path: str, *, branch: str = "") -> None:
    file = project.folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        plan_of(("1",)).replace("**Branch:** `work`", f"**Branch:** `{branch}`" if branch else "")
    )
    project.git("add", "-A")
    project.git("commit", "-q", "-m", path)


def run_on(project: TemporaryProject, plan: str, branch: str) -> RunReport:
    """A run of the plan, which must be on this branch."""
    report = project.run(plan=plan)
    assert project.git("symbolic-ref", "--short", "HEAD") == branch
    return report


def test_two_plans_with_one_file_name_have_two_branches(make_project: MakeProject) -> None:
    project = make_project()
    for path in ("specs/001-login/tasks.md", "specs/002-billing/tasks.md"):
        add_plan(project, path)
    for path, name in (
        ("specs/001-login/tasks.md", "001-login"),
        ("specs/002-billing/tasks.md", "002-billing"),
    ):
        report = run_on(project, path, f"milestone/{name}")
        assert report.run.startswith(f"{name}-")
        landed = project.git("ls-tree", "-r", "--name-only", "HEAD").split()
        assert path.replace("tasks.md", f"HANDOFF_{name}.md") in landed
        project.git("switch", "-q", "main")


def test_a_plan_does_not_take_the_branch_of_another_one(make_project: MakeProject) -> None:
    project = make_project()
    for path in ("docs/m1.md", "plans/m1.md"):
        add_plan(project, path)
    run_on(project, "docs/m1.md", "milestone/m1")
    for branch in ("main", "milestone/m1"):
        project.git("switch", "-q", branch)
        with pytest.raises(EnvironmentInvalid, match=r"the branch of another plan, docs/m1\.md"):
            project.run(plan="plans/m1.md")


def test_a_plan_that_was_moved_keeps_its_branch(make_project: MakeProject) -> None:
    project = make_project()
    add_plan(project, "docs/m1.md")
    project.run(plan="docs/m1.md")
    (project.folder / "plans").mkdir()
    project.git("mv", "docs/m1.md", "plans/m1.md")
    project.git("commit", "-q", "-m", "moved")
    run_on(project, "plans/m1.md", "milestone/m1")


def test_a_branch_that_a_plan_names_may_be_that_of_another(make_project: MakeProject) -> None:
    project = make_project()
    for path in ("docs/m1.md", "docs/m2.md"):
        add_plan(project, path, branch="work")
    run_on(project, "docs/m1.md", "work")
    report = run_on(project, "docs/m2.md", "work")
    notices = [fact.body.text for fact in project.facts(report.run) if isinstance(fact.body, Notice)]
    assert any("builds on commits of the finished run" in text for text in notices)


def test_a_file_name_with_blanks_gives_a_valid_branch(make_project: MakeProject) -> None:
    project = make_project()
    add_plan(project, "my plan.md")
    run_on(project, "my plan.md", "milestone/my-plan")
