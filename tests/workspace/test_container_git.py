"""An attempt gets a working repository of its own, and a gate gets the candidate's files."""

import os
import tarfile
import time

import pytest

from orchestrator.subprocesses import Identity
from orchestrator.workspace import container_git
from orchestrator.workspace.container_git import GIT_TARGET, OBJECTS_TARGET


async def test_an_agents_repository_is_clean_and_its_commits_stay_in_it(project, area):
    await project.git("tag", "v1")
    await project.git("tag", "-a", "v2", "-m", "annotated")
    await project.git("branch", "other")
    base = await project.git("rev-parse", "HEAD")
    before = sorted(str(path) for path in (project.folder / ".git").rglob("*"))
    workspace = await project.open()
    mounts = await workspace.tree.make_git_dir(area / "agent" / "git", branch="main")
    assert [(mount.target, mount.read_only) for mount in mounts] == [
        (GIT_TARGET, False),
        (f"{OBJECTS_TARGET}/0", True),
    ]
    assert mounts[0].source == area / "agent" / "git"
    alternates = area / "agent/git/objects/info/alternates"
    assert alternates.read_text() == f"{OBJECTS_TARGET}/0\n"
    assert await project.inside(mounts, "status", "--porcelain") == (0, "")
    assert await project.inside(mounts, "describe") == (0, "v2")
    assert await project.inside(mounts, "branch", "--format=%(refname:short)") == (0, "main\nother")
    project.write("a.py", "print(2)\n")
    assert (await project.inside(mounts, "commit", "-qam", "agent"))[0] == 0
    assert (await project.inside(mounts, "log", "-1", "--format=%an"))[1] == "Ada"
    assert (await project.inside(mounts, "gc", "-q", "--prune=now"))[0] == 0
    assert await project.git("rev-parse", "HEAD") == base
    assert sorted(str(path) for path in (project.folder / ".git").rglob("*")) == before
    assert await project.fsck() == ""


async def test_the_repository_belongs_to_the_containers_user(project, area):
    workspace = await project.open()
    await workspace.tree.make_git_dir(area / "git", branch="main")
    owners = {path.lstat().st_uid for path in (area / "git").rglob("*")}
    assert owners == {workspace.tree.owner.uid}


async def test_a_gates_repository_holds_the_candidate_and_is_clean(project, area):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    project.write("a.py", "print(2)\n")
    snapshot = await workspace.tree.snapshot(exclude=frozenset(), baseline=await workspace.tree.baseline())
    made = await workspace.tree.build_candidate(
        snapshot, parent=base, message="m\n", overlay={"H.md": b"x\n"}, ref="refs/c/1", base=base
    )
    await container_git.write_gate_archive(
        workspace.store, made.commit, area / "gate.tar", uid=os.geteuid(), gid=os.getegid()
    )
    mounts = await container_git.make_gate_git_dir(
        workspace.store, area / "gate.git", commit=made.commit, branch="main"
    )
    with tarfile.open(area / "gate.tar") as tar:
        tar.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
        tar.extractall(area / "unpacked")
    files = area / "unpacked/workspace"
    give(files, project.owner)
    assert await project.inside(mounts, "status", "--porcelain", folder=files) == (0, "")
    assert await project.inside(mounts, "rev-parse", "HEAD", folder=files) == (0, made.commit)
    assert await project.inside(mounts, "symbolic-ref", "HEAD", folder=files) == (0, "refs/heads/main")
    assert (await project.inside(mounts, "fsck", folder=files))[0] == 0
    assert (await project.try_git("cat-file", "-e", made.commit)).exit_code != 0


def give(folder, owner: Identity | None):
    if owner is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (1000, 100), (2_097_151, 2_097_152), (1_234_567_890, 7)])
async def test_the_archive_holds_the_whole_tree_with_owner_and_present_time(project, area, uid, gid):
    project.write(".gitattributes", "docs export-ignore\nv.txt export-subst\n")
    project.write("docs/d.md")
    project.write("v.txt", "$Format:%H$\n")
    project.write("deep/" * 30 + "a-long-name.py", "x = 1\n")
    project.write(os.fsdecode(b"odd-\xe9\n"), "odd\n")
    project.write("run.sh", "#!/bin/sh\n").chmod(0o755)
    (project.folder / "link").symlink_to("a.py")
    project.own()
    commit = await project.commit()
    workspace = await project.open()
    started = int(time.time())
    await container_git.write_gate_archive(workspace.store, commit, area / "gate.tar", uid=uid, gid=gid)
    with tarfile.open(area / "gate.tar", errors="surrogateescape") as tar:
        members = tar.getmembers()
        content = tar.extractfile("workspace/v.txt")
        assert content is not None
        assert content.read() == b"$Format:%H$\n"
    assert (members[0].name, members[0].isdir()) == ("workspace", True)
    assert {(member.uid, member.gid) for member in members} == {(uid, gid)}
    assert all(started <= member.mtime <= time.time() for member in members)
    names = {member.name.removeprefix("workspace/") for member in members if not member.isdir()}
    tracked = await project.git("ls-tree", "-r", "-z", "--name-only", "HEAD")
    assert names == set(tracked.split("\0")) - {""}
    modes = {member.name: member.mode & 0o777 for member in members}
    assert (modes["workspace/run.sh"], modes["workspace/a.py"]) == (0o755, 0o644)
