"""The name of a plan, after which its branch, its runs and its hand-off document are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan.names import plan_name
from orchestrator.plan.refnames import branch_problem


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("specs/001-login/tasks.md", "001-login"),
        ("specs/002-billing/tasks.md", "002-billing"),
        (".kiro/specs/login/tasks.md", "login"),
        ("openspec/changes/add-login/Tasks.md", "add-login"),
        ("features/login/README.md", "login"),
        ("login/requirements.md", "login"),
        ("work/spec.md", "work"),
        ("work/TODO.md", "work"),
        (".taskmaster/tasks/tasks.json", "tasks"),
        ("tasks.md", "tasks"),
        ("TODO.md", "TODO"),
        ("docs/plan.md", "plan"),
        ("Docs/plan.md", "plan"),
        ("doc/plan.md", "plan"),
        ("plans/todo.md", "todo"),
        ("a/specs/tasks.md", "tasks"),
        ("plans/m3.md", "m3"),
        ("specs/001-login/m3.md", "m3"),
        ("my plan.md", "my-plan"),
        ("a~b^c:d?e*f[g.md", "a-b-c-d-e-f-g"),
        ("a..b.md", "a-b"),
        ("a@{b.md", "a-b"),
        (".hidden.md", "hidden"),
        ("x.lock.md", "x"),
        ("-rf.md", "rf"),
        ("wörter.md", "wörter"),
        ("~.md", "plan"),
        ("PLAN", "PLAN"),
    ],
)
def test_the_name_of_a_plan(path: str, name: str) -> None:
    assert plan_name(path) == name


@given(st.text(min_size=1, max_size=300).filter(lambda path: "\ud800" not in path))
def test_every_path_gives_a_valid_branch_and_file_name(path: str) -> None:
    name = plan_name(path)
    assert branch_problem(f"milestone/{name}") is None
    assert "/" not in name and len(name.encode()) <= 120
