"""Repositories that a run refuses before it changes anything, and unusual ones that it accepts."""

import os
import shutil
from dataclasses import replace

import pytest

from orchestrator.clock import SystemClock
from orchestrator.errors import EnvironmentInvalid
from orchestrator.subprocesses import run
from orchestrator.workspace.workspace import Workspace


async def refused(project, *, folder=None) -> str:
    with pytest.raises(EnvironmentInvalid) as failure:
        workspace = await Workspace.open(
            folder or project.folder,
            repositories=project.repositories,
            environ=os.environ,
            clock=SystemClock(),
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
        (conflict, "a.py has an unresolved conflict"),
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
        (worktree_elsewhere, "files are elsewhere"),
        (git_directory_in_reach, "build/apart.git: part of the repository is inside the code folder"),
        (objects_in_reach, "build/mirror.git/objects: part of the repository is inside the code folder"),
        (include_cannot_be_parsed, "bad config line"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_folder_that_cannot_be_used_is_refused_and_unchanged(project, spoil, says):
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


async def test_a_refused_repository_leaves_no_store_behind(project):
    await submodule(project)
    assert "submodules" in await refused(project)
    assert list(project.repositories.iterdir()) == []


async def test_a_folder_that_is_not_a_repository_is_refused(own_project, area):
    assert "cannot be read" in await refused(own_project, folder=area / "vanished")
    assert f"Its root is {own_project.folder}" in await refused(
        own_project, folder=own_project.folder / "src"
    )
    (area / "plain").mkdir()
    assert "not a git repository" in await refused(own_project, folder=area / "plain")
    await own_project.git("clone", "-q", "--bare", ".", str(area / "bare.git"))
    assert "is bare" in await refused(own_project, folder=area / "bare.git")
    assert "not a folder" in await refused(own_project, folder=own_project.folder / "a.py")


async def test_a_repository_without_a_commit_is_refused(own_project):
    shutil.rmtree(own_project.folder / ".git")
    await own_project.git("init", "-q")
    assert "no commit yet" in await refused(own_project)


async def test_a_folder_of_another_user_is_refused_unless_the_caller_is_root(own_project, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "not to you (user 12345)" in await refused(own_project)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
async def test_a_git_directory_of_another_user_is_refused(own_project):
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


@pytest.mark.parametrize("line", [1, 2], ids=["a worktree without them", "ordinary files"])
async def test_the_ways_out_of_submodules_work_as_they_are_printed(own_project, area, line):
    other = area / "library"
    await own_project.git("clone", "-q", ".", str(other))
    await own_project.git(
        *("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "my lib")
    )
    await own_project.commit()
    words = await refused(own_project)
    assert "submodules are not supported yet (my lib)" in words
    command = words.splitlines()[line].partition(": ")[2]
    environ = {"PATH": os.environ["PATH"], "HOME": str(own_project.home), "GIT_CONFIG_NOSYSTEM": "1"}
    done = await run(("bash", "-ec", command), timeout=60, env=environ, cwd=own_project.folder)
    assert done.exit_code == 0, done.stderr
    folder = area / f"{own_project.folder.name}-without-submodules" if line == 1 else own_project.folder
    workspace = await replace(own_project, folder=folder).open()
    await workspace.user.check_files()
    assert (folder / "my lib" / "a.py").exists() == (line == 2)
