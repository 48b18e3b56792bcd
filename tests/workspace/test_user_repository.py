"""Reading the user's own repository, and making branches in it."""

import asyncio
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentInvalid, WorkspaceError
from orchestrator.workspace.delivery import export_to_user_repository


async def name_ref() -> str:
    return "refs/ktrdr/s/r/1"


async def test_dirty_paths_equal_those_of_git_status(project):
    workspace = await project.open()
    assert await workspace.user.list_dirty_paths() == ()
    project.write("ignored.log")
    project.write("plan.md")
    assert await workspace.user.list_dirty_paths(frozenset({"plan.md"})) == ()
    assert await workspace.user.list_dirty_paths() == ("plan.md",)
    await project.git("add", "plan.md")
    project.write("a.py", "print(2)\n")
    (project.folder / "src/deep/b.py").unlink()
    assert await workspace.user.list_dirty_paths(frozenset({"plan.md"})) == (
        "a.py",
        "plan.md",
        "src/deep/b.py",
    )
    assert await workspace.user.is_tracked("plan.md")
    assert not await workspace.user.is_tracked("*.log")


async def test_a_staged_change_that_was_undone_in_the_file_is_dirty(project):
    workspace = await project.open()
    project.write("a.py", "print(2)\n")
    await project.git("add", "a.py")
    project.write("a.py", "print(1)\n")
    assert await workspace.user.list_dirty_paths() == ("a.py",)


async def test_a_branch_is_created_reused_or_refused(project):
    workspace = await project.open()
    base = await project.git("rev-parse", "HEAD")
    assert await workspace.user.head() == (await workspace.user.head())
    assert await workspace.user.check_branch("main") is False
    assert await workspace.user.check_branch("milestone/a/b") is True
    await workspace.user.make_branch("milestone/a/b", base)
    await workspace.user.make_branch("milestone/a/b", base)
    assert (await workspace.user.head()).branch == "milestone/a/b"
    assert await workspace.user.find_checked_out_commit("milestone/a/b") == base
    with pytest.raises(EnvironmentInvalid, match="git switch main"):
        await workspace.user.check_branch("main")
    for name in ("milestone/a", "milestone/a/b/c"):
        with pytest.raises(EnvironmentInvalid, match="because there is a branch milestone/a/b"):
            await workspace.user.check_branch(name)
    assert await project.git("status", "--porcelain") == ""


@pytest.mark.parametrize("name", ["a..b", "-x", "a b", "", "HEAD", "x.lock", "a~1", "@{-1}"])
async def test_an_impossible_branch_name_is_refused(own_project, name):
    workspace = await own_project.open()
    with pytest.raises(EnvironmentInvalid, match="cannot be the name of a branch"):
        await workspace.user.check_branch(name)


async def test_a_detached_head_gets_a_branch(project):
    await project.git("checkout", "-q", "--detach")
    workspace = await project.open()
    assert (await workspace.user.head()).branch is None
    assert await workspace.user.check_branch("milestone/x") is True
    await workspace.user.make_branch("milestone/x", (await workspace.user.head()).commit)
    assert await project.git("symbolic-ref", "HEAD") == "refs/heads/milestone/x"


async def test_a_branch_of_another_worktree_is_refused(project, area):
    await project.git("switch", "-q", "-c", "work")
    await project.git("worktree", "add", "-q", "-f", str(area / "project" / "build" / "tree"), "work")
    workspace = await project.open()
    with pytest.raises(EnvironmentInvalid, match="also checked out in another worktree"):
        await workspace.user.check_branch("work")


async def test_staged_content_is_kept_and_the_index_equals_head_afterwards(project):
    workspace = await project.open()
    base = await project.git("rev-parse", "HEAD")
    project.write("a.py", "print(2)\n")
    await project.git("add", "a.py")
    project.write("a.py", "print(3)\n")
    kept = await workspace.user.set_staged_aside(branch="main", head=base, ref=name_ref, base=base)
    assert kept is not None
    assert await workspace.store.git.text("cat-file", "blob", f"{kept}:a.py") == "print(2)"
    assert await project.git("diff", "--cached") == ""
    assert (project.folder / "a.py").read_text() == "print(3)\n"
    again = await workspace.user.set_staged_aside(branch="main", head=base, ref=name_ref, base=base)
    assert again is None


async def test_the_index_stays_when_the_branch_has_moved(own_project):
    workspace = await own_project.open()
    base = await own_project.git("rev-parse", "HEAD")
    await own_project.commit("mine")
    own_project.write("a.py", "print(2)\n")
    await own_project.git("add", "a.py")
    with pytest.raises(WorkspaceError, match=f"no longer checked out at {base}"):
        await workspace.user.set_staged_aside(branch="main", head=base, ref=name_ref, base=base)
    assert await own_project.git("diff", "--cached", "--name-only") == "a.py"


async def test_forgetting_a_run_removes_its_refs_in_both_repositories_and_no_others(own_project):
    workspace = await own_project.open()
    base = await own_project.git("rev-parse", "HEAD")
    own_project.write("a.py", "print(2)\n")
    for run in ("r1", "r2"):
        await workspace.user.pin_base(run, base)
        ref = f"refs/ktrdr/trees/{run}/1"
        saved = await workspace.tree.salvage(ref, parent=base, message="m\n", base=base)
        await export_to_user_repository(workspace.user, saved, run=run, base=base)
    await workspace.forget("r1")
    users = await own_project.git("for-each-ref", "--format=%(refname)", "refs/ktrdr", "refs/ktrdr-saved")
    assert set(users.splitlines()) == {"refs/ktrdr/r2", f"refs/ktrdr-saved/r2/{saved}"}
    assert await workspace.store.git.text("for-each-ref", "--format=%(refname)") == "refs/ktrdr/trees/r2/1"


@pytest.mark.parametrize("ref", ["refs/heads/lost", "refs/tags/v0", "refs/heads/feature/lost"])
@pytest.mark.parametrize("content", [f"{'1234567890' * 4}\n", ""], ids=["no-object", "empty"])
async def test_a_ref_that_points_to_nothing_is_named(project, ref, content):
    workspace = await project.open()
    path = project.folder / ".git" / ref
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    project.own()
    with pytest.raises(EnvironmentInvalid, match=f"{ref} points to") as refused:
        await workspace.user.check_refs()
    assert f"git update-ref -d {ref}" in str(refused.value)


async def test_a_broken_branch_of_head_is_named(project):
    workspace = await project.open()
    (project.folder / ".git/refs/heads/main").write_text(f"{'1234567890' * 4}\n")
    with pytest.raises(EnvironmentInvalid, match="refs/heads/main points to 1234567890"):
        await workspace.user.head()


@pytest.mark.parametrize("content", ["", "nonsense\n"], ids=["empty", "no commit's name"])
async def test_a_damaged_branch_of_head_is_named(project, content):
    workspace = await project.open()
    (project.folder / ".git/refs/heads/main").write_text(content)
    with pytest.raises(EnvironmentInvalid, match="refs/heads/main points to nothing") as refused:
        await workspace.user.head()
    assert refused.value.where == str(project.folder / ".git/refs/heads/main")


def open_for_writing(pipe: Path) -> int | None:
    """Open a named pipe; None as long as no process reads it."""
    with suppress(OSError):
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    return None


async def test_git_that_is_cancelled_leaves_no_lock(own_project):
    """The user's next command would be refused because of it."""
    workspace = await own_project.open()
    message, lock = own_project.folder.parent / "message", own_project.folder / ".git" / "index.lock"
    os.mkfifo(message)
    git = replace(workspace.user.git, work_tree=own_project.folder)
    waiting = asyncio.ensure_future(git.run("commit", "--quiet", "--all", "--file", str(message)))
    while (writer := open_for_writing(message)) is None:
        await asyncio.sleep(0.01)
    assert lock.exists()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    os.close(writer)
    assert not lock.exists()
