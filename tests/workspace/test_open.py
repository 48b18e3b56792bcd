"""What a run refuses before anything is made, by name; and the odd repositories that it takes."""

import os
import shutil
from dataclasses import replace

import pytest

from orchestrator.errors import EnvironmentInvalid
from orchestrator.workspace import history
from orchestrator.workspace.workspace import Workspace


async def refused(project, *, folder=None) -> str:
    with pytest.raises(EnvironmentInvalid) as failure:
        workspace = await Workspace.open(
            folder or project.folder, repositories=project.repositories, environ=os.environ
        )
        await workspace.user.check_files()
        pytest.fail("it was taken")
    return str(failure.value)


async def bare(project):
    await project.git("config", "core.bare", "true")


async def merge(project):
    (project.folder / ".git/MERGE_HEAD").write_text("x")


async def rebase(project):
    (project.folder / ".git/rebase-merge").mkdir()


async def conflict(project):
    await project.git("switch", "-q", "-c", "other")
    project.write("a.py", "print('other')\n")
    await project.commit()
    await project.git("switch", "-q", "main")
    project.write("a.py", "print('main')\n")
    await project.commit()
    await project.try_git("merge", "other")
    (project.folder / ".git/MERGE_HEAD").unlink()


async def submodule(project):
    commit = await project.git("rev-parse", "HEAD")
    await project.git("update-index", "--add", "--cacheinfo", f"160000,{commit},lib")


async def nested(project):
    project.write("lib/x")
    await project.git("init", "-q", "lib")


async def nested_in_tracked_folder(project):
    await project.git("init", "-q", "src")


async def lfs(project):
    project.write(".gitattributes", "*.bin filter=lfs\n")
    project.write("x.bin")


async def encoding(project):
    project.write(".git/info/attributes", "a.py working-tree-encoding=UTF-16\n")


async def sparse(project):
    await project.git("sparse-checkout", "set", "src")


async def partial(project):
    await project.git("config", "remote.origin.promisor", "true")


async def locked(project):
    (project.folder / ".git/index.lock").touch()


async def pipe_for_gitignore(project):
    os.mkfifo(project.folder / "src/.gitignore")


async def git_is_a_link(project):
    (project.folder / ".git").rename(project.folder.parent / "elsewhere.git")
    (project.folder / ".git").symlink_to("../elsewhere.git")


async def worktree_elsewhere(project):
    await project.git("config", "core.worktree", "/tmp")


async def include_cannot_be_parsed(project):
    (project.home / "broken").write_text("[core\n")
    await project.git("config", "include.path", str(project.home / "broken"))


async def git_directory_in_reach(project):
    project.write("build/x")
    await project.git("init", "-q", "--separate-git-dir", "build/apart.git")


async def objects_in_reach(project):
    await project.git("init", "-q", "--bare", "build/mirror.git")
    project.write(".git/objects/info/alternates", f"{project.folder}/build/mirror.git/objects\n")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (bare, "is bare"),
        (merge, "a merge is in progress"),
        (rebase, "a rebase is in progress"),
        (conflict, "a.py has a conflict"),
        (submodule, "submodules are not supported yet (lib)"),
        (nested, "lib/.git: repositories inside the repository"),
        (nested_in_tracked_folder, "src/.git: repositories inside the repository"),
        (lfs, "filter=lfs"),
        (encoding, "working-tree-encoding=UTF-16"),
        (sparse, "sparse checkouts"),
        (partial, "partial clones"),
        (locked, "index.lock"),
        (pipe_for_gitignore, "src/.gitignore: this is not a regular file"),
        (git_is_a_link, "a .git that is a link"),
        (worktree_elsewhere, "files lie elsewhere"),
        (git_directory_in_reach, "build/apart.git: a part of the repository lies in the code folder"),
        (objects_in_reach, "build/mirror.git/objects: a part of the repository lies in the code folder"),
        (include_cannot_be_parsed, "bad config line"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_refused_by_name_with_nothing_changed(project, spoil, says):
    await spoil(project)
    project.own()
    before = everything_in(project)
    assert says in await refused(project)
    assert everything_in(project) == before


def everything_in(project):
    return sorted(str(path) for path in project.folder.rglob("*"))


async def test_a_state_folder_in_the_code_folder_is_refused(own_project):
    inside = replace(own_project, repositories=own_project.folder / "state")
    assert "XDG_STATE_HOME" in await refused(inside)


async def test_a_refused_repository_leaves_none_of_ours_behind(project):
    await submodule(project)
    assert "submodules" in await refused(project)
    assert list(project.repositories.iterdir()) == []


async def test_folders_that_are_no_repository(own_project, area):
    assert "cannot be read" in await refused(own_project, folder=area / "vanished")
    assert f"Its root is {own_project.folder}" in await refused(
        own_project, folder=own_project.folder / "src"
    )
    (area / "plain").mkdir()
    assert "not a git repository" in await refused(own_project, folder=area / "plain")
    await own_project.git("clone", "-q", "--bare", ".", str(area / "bare.git"))
    assert "is bare" in await refused(own_project, folder=area / "bare.git")
    assert "not a folder" in await refused(own_project, folder=own_project.folder / "a.py")


async def test_a_repository_without_a_commit(own_project):
    shutil.rmtree(own_project.folder / ".git")
    await own_project.git("init", "-q")
    assert "no commit yet" in await refused(own_project)


async def test_a_folder_of_somebody_else_is_refused_for_an_ordinary_caller(own_project, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "not to you (user 12345)" in await refused(own_project)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
async def test_a_git_directory_of_somebody_else_is_refused(own_project):
    os.chown(own_project.folder, 1000, 1000)
    assert "its git directory to user 0" in await refused(own_project)


@pytest.mark.parametrize(
    "name", ["with space", "co:lon", "quo\"te'", "ünï-日本", "new\nline", "-dash", "$HOME"]
)
async def test_folder_names_of_every_kind_work(make_project, name):
    project = await make_project(name)
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    project.write("b.py")
    snapshot = await workspace.tree.snapshot(exclude=frozenset(), baseline=await workspace.tree.baseline())
    made = await workspace.tree.build_candidate(
        snapshot, parent=base, message="m\n", overlay={}, ref="refs/c/1", base=base
    )
    await workspace.tree.land(made.commit, branch="main", expected=base)
    assert await project.git("status", "--porcelain") == ""


async def test_dirty_paths_are_those_of_git_status(project):
    workspace = await project.open()
    assert await workspace.user.dirty_paths() == ()
    project.write("ignored.log")
    project.write("plan.md")
    assert await workspace.user.dirty_paths(frozenset({"plan.md"})) == ()
    assert await workspace.user.dirty_paths() == ("plan.md",)
    await project.git("add", "plan.md")
    project.write("a.py", "print(2)\n")
    (project.folder / "src/deep/b.py").unlink()
    assert await workspace.user.dirty_paths(frozenset({"plan.md"})) == ("a.py", "plan.md", "src/deep/b.py")
    assert await workspace.user.is_tracked("plan.md")
    assert not await workspace.user.is_tracked("*.log")


async def test_a_staged_change_that_was_undone_in_the_file_is_dirty(project):
    workspace = await project.open()
    project.write("a.py", "print(2)\n")
    await project.git("add", "a.py")
    project.write("a.py", "print(1)\n")
    assert await workspace.user.dirty_paths() == ("a.py",)


async def test_branches(project):
    workspace = await project.open()
    base = await project.git("rev-parse", "HEAD")
    assert await workspace.user.head() == (await workspace.user.head())
    assert await workspace.user.check_branch("main") is False
    assert await workspace.user.check_branch("milestone/a/b") is True
    await workspace.user.make_branch("milestone/a/b", base)
    await workspace.user.make_branch("milestone/a/b", base)
    assert (await workspace.user.head()).branch == "milestone/a/b"
    assert await workspace.user.commit_of_checked_out("milestone/a/b") == base
    with pytest.raises(EnvironmentInvalid, match="git switch main"):
        await workspace.user.check_branch("main")
    for name in ("milestone/a", "milestone/a/b/c"):
        with pytest.raises(EnvironmentInvalid, match="beside the branch milestone/a/b"):
            await workspace.user.check_branch(name)
    assert await project.git("status", "--porcelain") == ""


@pytest.mark.parametrize("name", ["a..b", "-x", "a b", "", "HEAD", "x.lock", "a~1", "@{-1}"])
async def test_names_that_no_branch_can_have(own_project, name):
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
    with pytest.raises(EnvironmentInvalid, match="another worktree too"):
        await workspace.user.check_branch("work")


async def test_commits_of_a_run_are_found_by_their_trailers(project):
    base = await project.git("rev-parse", "HEAD")
    trailers = "Orchestrator-Run: r1\nOrchestrator-Task: 1.2\nOrchestrator-Attempt: 1"
    first = await project.commit(f"1.2: a title\n\nwords\n\n{trailers}\n")
    await project.commit("mine\n\nOrchestrator-Run: r2\nOrchestrator-Task: 1.3\n")
    await project.commit("plain")
    workspace = await project.open()
    assert await history.find_landed(workspace.store, tip=first, base=base, run="r1") == {"1.2": first}
    assert await history.is_ancestor(workspace.store, base, first)
    assert not await history.is_ancestor(workspace.store, first, base)
    assert not await history.is_ancestor(workspace.store, "0" * 40, first)
