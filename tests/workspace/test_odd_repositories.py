"""Repositories of every kind: a whole task in each gives the tree that the user's own git would have made."""

import os
import shutil
from dataclasses import replace

import pytest

from orchestrator.workspace import container_git


async def plain(project):
    pass


async def packed_refs(project):
    await project.git("tag", "v1")
    await project.git("branch", "side/branch")
    await project.git("pack-refs", "--all")


async def packed_objects(project):
    await project.git("gc", "-q")


async def split_index(project):
    await project.git("config", "splitIndex.maxPercentChange", "100")
    await project.git("update-index", "--split-index")
    project.write("z.py", "z = 1\n")
    await project.commit()
    assert list((project.folder / ".git").glob("sharedindex.*"))


async def index_version_4(project):
    await project.git("update-index", "--index-version", "4")


async def untracked_cache(project):
    await project.git("update-index", "--force-untracked-cache")
    await project.git("status")


async def autocrlf(project):
    await project.git("config", "core.autocrlf", "true")
    project.write("crlf.txt", "one\r\ntwo\r\n")
    await project.commit()


async def autocrlf_of_the_user(project):
    (project.home / ".gitconfig").write_text("[core]\n\tautocrlf = input\n\teol = crlf\n")
    if project.owner is not None:
        # Another user's own settings come from their home, which this user does not have.
        (project.home / ".gitconfig").unlink()
    project.write("crlf.txt", "one\r\ntwo\r\n")
    await project.commit()


async def eol_attributes(project):
    project.write(".gitattributes", "* text=auto\n*.bat eol=crlf\n*.bin -text\n")
    project.write("x.bat", "one\r\ntwo\r\n")
    project.write("x.bin", b"\r\n\0\n")
    await project.commit()


async def attributes_of_the_repository(project):
    project.write(".git/info/attributes", "*.txt text eol=crlf\n")
    project.write("crlf.txt", "one\r\ntwo\r\n")
    await project.commit()


async def ignored_by_the_repository(project):
    project.write(".git/info/exclude", "private\n*.secret\n!new.secret\n")
    project.write("private/x")
    project.write("a.secret")


async def ignored_by_a_setting(project):
    (project.folder.parent / "patterns").write_text("private\n*.secret\n")
    await project.git("config", "core.excludesFile", str(project.folder.parent / "patterns"))
    project.write("private/x")
    project.write("a.secret")


async def no_file_mode(project):
    await project.git("config", "core.fileMode", "false")
    (project.folder / "a.py").chmod(0o755)


async def no_symlinks(project):
    (project.folder / "link").symlink_to("a.py")
    project.own()
    await project.commit()
    await project.git("config", "core.symlinks", "false")
    (project.folder / "link").unlink()
    project.write("link", "a.py")


async def replaced_commit(project):
    base = await project.git("rev-parse", "HEAD")
    project.write("a.py", "print('other')\n")
    other = await project.commit()
    await project.git("reset", "-q", "--hard", base)
    await project.git("replace", base, other)
    await project.git("-c", "core.useReplaceRefs=false", "reset", "-q", "--hard", base)
    await project.git("replace", "-d", base)


async def alternates(project):
    """Objects borrowed by a relative path from a store that borrows itself."""
    for name, line in (("first", "../../second.git/objects"), ("second", None)):
        await project.git("init", "-q", "--bare", str(project.folder / f".git/{name}.git"))
        if line is not None:
            (project.folder / f".git/{name}.git/objects/info/alternates").write_text(f"{line}\n")
    objects = project.folder / ".git/objects"
    for folder in objects.glob("??"):
        shutil.move(folder, project.folder / ".git/second.git/objects" / folder.name)
    (objects / "info").mkdir(exist_ok=True)
    (objects / "info/alternates").write_text("../first.git/objects\n")
    project.own()
    assert await project.git("count-objects") == "0 objects, 0 kilobytes"


async def shared_between_users(project):
    await project.git("config", "core.sharedRepository", "group")


async def many_commits(project):
    for number in range(5):
        project.write("count", f"{number}\n")
        await project.commit(f"{number}")
    await project.git("tag", "-a", "v1", "-m", "v1")


async def ambiguous_names(project):
    """A branch and a tag of one name, also of the run's branch, and a branch called like a full name."""
    for name in ("nightly", "milestone/y"):
        await project.git("tag", name)
    for name in ("nightly", "milestone/y", "refs/heads/nightly", "tags/nightly", "heads/nightly"):
        await project.git("update-ref", f"refs/heads/{name}", "HEAD")
    await project.git("tag", "milestone/x")


KINDS = [
    ambiguous_names,
    plain,
    packed_refs,
    packed_objects,
    split_index,
    index_version_4,
    untracked_cache,
    autocrlf,
    autocrlf_of_the_user,
    eol_attributes,
    attributes_of_the_repository,
    ignored_by_the_repository,
    ignored_by_a_setting,
    no_file_mode,
    no_symlinks,
    replaced_commit,
    alternates,
    shared_between_users,
    many_commits,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_a_task_lands_in_every_kind_of_repository(project, kind):
    await kind(project)
    project.own()
    await a_whole_task(project)


async def a_whole_task(project):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    assert await workspace.user.list_dirty_paths() == ()
    await workspace.user.pin_base("r1", base)
    assert await workspace.user.check_branch("milestone/x")
    await workspace.user.make_branch("milestone/x", base)
    area = project.folder.parent
    agent = await workspace.tree.make_git_dir(area / "agent.git", branch="milestone/x")
    assert await project.inside(agent, "status", "--porcelain") == (0, "")
    baseline = await workspace.tree.baseline()
    work(project)
    await project.git("gc", "-q", "--prune=now")
    assert await workspace.tree.clear_oddities(baseline, area / "evidence") == ()
    expected = await naive_tree(project)
    snapshot = await workspace.tree.snapshot(exclude=frozenset(), baseline=baseline)
    assert snapshot.tree == expected
    assert snapshot.left_out == ()
    made = await workspace.tree.build_candidate(
        snapshot, parent=base, message="m\n", overlay={"H.md": b"# One\n\ntwo\n"}, ref="refs/c/1", base=base
    )
    await container_git.write_gate_archive(workspace.store, made.commit, area / "gate.tar", uid=1, gid=1)
    gate = await container_git.make_gate_git_dir(
        workspace.store, area / "gate.git", commit=made.commit, branch="milestone/x"
    )
    assert (await project.inside(gate, "rev-parse", "HEAD"))[1] == made.commit
    await workspace.tree.land(made.commit, branch="milestone/x", expected=base)
    assert await project.git("rev-parse", "HEAD^{tree}") == made.tree
    assert await project.git("status", "--porcelain") == ""
    assert await project.git("diff", "HEAD") == ""
    assert await project.fsck() == ""
    assert project.owners() == {os.geteuid() if project.owner is None else project.owner.uid}


def work(project):
    project.write("a.py", "print('changed')\n")
    project.write("new.txt", "one\r\ntwo\r\n")
    project.write("new.bat", "one\r\ntwo\r\n")
    project.write("new.secret", "three\n")
    project.write("sub/run.sh", "#!/bin/sh\n").chmod(0o755)
    (project.folder / "src/deep/b.py").unlink()


async def naive_tree(project):
    """The tree that the user's git makes of the folder, by an index of its own."""
    index = project.folder / ".git" / "naive-index"
    shutil.copy2(project.folder / ".git/index", index)
    project.own()
    await project.git("add", "-A", GIT_INDEX_FILE=str(index))
    tree = await project.git("write-tree", GIT_INDEX_FILE=str(index))
    index.unlink()
    return tree


async def test_a_task_lands_in_a_sha256_repository(make_project):
    project = await make_project("sha256", "--object-format=sha256")
    await a_whole_task(project)
    assert len(await project.git("rev-parse", "HEAD")) == 64


async def test_a_task_lands_in_a_shallow_clone(make_project, area):
    origin = await make_project("origin")
    for number in range(3):
        origin.write("count", f"{number}\n")
        await origin.commit(f"{number}")
    shutil.rmtree(area / "clone", ignore_errors=True)
    await origin.git("clone", "-q", "--depth=1", f"file://{origin.folder}", str(area / "clone"), cwd=area)
    clone = await make_project("scratch")
    shutil.rmtree(clone.folder)
    (area / "clone").rename(clone.folder)
    await clone.git("config", "user.name", "Ada")
    await clone.git("config", "user.email", "ada@example.org")
    await a_whole_task(clone)
    assert await clone.git("rev-list", "--count", "HEAD") == "2"


async def test_a_task_lands_in_a_linked_worktree(project, area):
    """The work happens in a linked worktree whose .git is a file; the main one is left alone."""
    before = await project.git("rev-parse", "HEAD")
    project.own()
    linked = project.folder / "build" / "linked"
    await project.git("worktree", "add", "-q", "-b", "side", str(linked))
    side = replace(project, folder=linked)
    workspace = await side.open()
    assert workspace.user.git_dir == project.folder / ".git/worktrees/linked"
    mounts = await workspace.tree.make_git_dir(area / "agent.git", branch="side")
    pointer = next(mount for mount in mounts if mount.target == "/workspace/.git")
    repository = next(mount for mount in mounts if mount.target == "/run/orchestrator/git")
    assert pointer.source.read_text() == "gitdir: /run/orchestrator/git\n"
    assert repository.source == area / "agent.git"
    side.write("a.py", "print('side')\n")
    snapshot = await workspace.tree.snapshot(exclude=frozenset(), baseline=await workspace.tree.baseline())
    made = await workspace.tree.build_candidate(
        snapshot, parent=before, message="m\n", overlay={}, ref="refs/c/1", base=before
    )
    await workspace.tree.land(made.commit, branch="side", expected=before)
    assert await side.git("status", "--porcelain") == ""
    assert await side.git("rev-parse", "side") == made.commit
    assert await project.git("rev-parse", "HEAD") == before
    assert await project.git("status", "--porcelain") == ""
    assert await project.fsck() == ""


async def test_two_tasks_land_with_a_commit_of_the_user_in_between(project):
    workspace = await project.open()
    base = await project.git("rev-parse", "HEAD")
    await workspace.user.pin_base("r1", base)
    for number in range(2):
        parent = await project.git("rev-parse", "HEAD")
        baseline = await workspace.tree.baseline()
        project.write("task.py", f"n = {number}\n")
        snapshot = await workspace.tree.snapshot(exclude=frozenset(), baseline=baseline)
        made = await workspace.tree.build_candidate(
            snapshot, parent=parent, message="m\n", overlay={}, ref=f"refs/c/{number}", base=base
        )
        await workspace.tree.land(made.commit, branch="main", expected=parent)
        project.write("mine.py", f"m = {number}\n")
        await project.commit("mine")
    await project.git("gc", "-q", "--prune=now")
    assert await project.git("log", "--format=%s", f"{base}..HEAD") == "mine\nm\nmine\nm"
    assert await project.fsck() == ""
    await workspace.store.git.run("fsck", "--strict")


async def test_a_task_lands_where_the_git_directory_is_elsewhere(own_project, area):
    """`.git` is a file that names it, without a worktree."""
    await own_project.git("init", "-q", "--separate-git-dir", str(area / "apart.git"))
    workspace = await own_project.open()
    assert workspace.user.git_dir == area / "apart.git"
    mounts = await workspace.tree.make_git_dir(area / "agent.git", branch="main")
    assert {mount.target: mount.source.is_file() for mount in mounts} == {
        "/workspace/.git": True,
        "/run/orchestrator/git": False,
        "/run/orchestrator/objects/0": False,
    }
