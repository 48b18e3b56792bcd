"""The mounted repository in a real container: it works, it can be destroyed, the user's stays as it was."""

import os

import pytest

from orchestrator.containers.coding_agent_container import CodingAgentContainer
from orchestrator.mounts import Bind
from orchestrator.workspace import container_git

pytestmark = pytest.mark.docker

# The engine's socket is not for everybody.
owners = pytest.mark.parametrize(
    "project", ["caller", "root on another's"] if os.geteuid() == 0 else ["caller"], indirect=True
)


@pytest.fixture
async def started():
    """Starts containers on a folder with further mounts, and removes them all."""
    containers: list[CodingAgentContainer] = []

    async def start(folder, mounts):
        binds = tuple(
            Bind(source=mount.source, target=mount.target, read_only=mount.read_only) for mount in mounts
        )
        name = f"ktrdr-coding-agent-workspace-test-{os.getpid()}-{len(containers)}"
        container = CodingAgentContainer(container_name=name, mounts=binds)
        await container.start(folder)
        containers.append(container)
        return container

    yield start
    for container in containers:
        await container.stop()


async def sh(container, script):
    done = await container.exec(["sh", "-ec", script], timeout=60)
    return done.exit_code, (done.stdout + done.stderr).strip()


@owners
async def test_the_agent_works_in_a_repository_of_its_own(project, area, started):
    await project.git("tag", "-a", "v1", "-m", "one")
    base = await project.git("rev-parse", "HEAD")
    users = sorted((path, path.lstat().st_mtime_ns) for path in (project.folder / ".git").rglob("*"))
    workspace = await project.open()
    container = await started(
        project.folder, await workspace.tree.make_git_dir(area / "agent.git", branch="main")
    )
    assert await sh(container, "git status --porcelain; git describe; git log --format=%an") == (0, "v1\nAda")
    assert await sh(container, "echo 2 > a.py; git commit -qam mine; git rev-parse HEAD~1") == (0, base)
    for attack in ("rm -rf .git", "mv .git x", "umount .git", "touch /run/orchestrator/objects/0/x"):
        assert (await sh(container, attack))[0] != 0
    assert await sh(container, "find .git -mindepth 1 | wc -l; git init -q && git rev-parse HEAD")
    await container.stop()
    assert sorted((path, path.lstat().st_mtime_ns) for path in (project.folder / ".git").rglob("*")) == users
    assert await project.git("status", "--porcelain") == " M a.py"
    assert await project.fsck() == ""
    assert project.owners() == {workspace.tree.owner.uid}


async def test_an_agent_in_a_linked_worktree_works_in_a_repository_of_its_own(own_project, area, started):
    await own_project.git("worktree", "add", "-q", "-b", "side", str(area / "linked"))
    side = type(own_project)(
        folder=area / "linked", home=own_project.home, repositories=own_project.repositories, owner=None
    )
    workspace = await side.open()
    container = await started(
        side.folder, await workspace.tree.make_git_dir(area / "agent.git", branch="side")
    )
    assert await sh(container, "git status --porcelain; git symbolic-ref HEAD") == (0, "refs/heads/side")
    assert (await sh(container, "rm -f .git"))[0] != 0
    await container.stop()
    assert await side.git("status", "--porcelain") == ""


@owners
async def test_a_gate_sees_the_candidate_and_a_clean_repository(project, area, started):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    project.write("a.py", "print(2)\n")
    snapshot = await workspace.tree.snapshot(exclude=frozenset(), baseline=await workspace.tree.baseline())
    made = await workspace.tree.build_candidate(
        snapshot, parent=base, message="m\n", overlay={"H.md": b"x\n"}, ref="refs/c/1", base=base
    )
    owner = workspace.tree.owner
    await container_git.write_gate_archive(
        workspace.store, made.commit, area / "gate.tar", uid=owner.uid, gid=owner.gid
    )
    mounts = await container_git.make_gate_git_dir(
        workspace.store, area / "gate.git", commit=made.commit, branch="main"
    )
    files = area / "files"
    (files / ".git").mkdir(parents=True)
    os.chown(files, owner.uid, owner.gid)
    container = await started(files, mounts)
    engine = await container._engine()
    await engine.put_archive(container.container_name, "/", area / "gate.tar")
    assert await sh(container, "git status --porcelain; git rev-parse HEAD; cat H.md; stat -c %u a.py") == (
        0,
        f"{made.commit}\nx\n{owner.uid}",
    )
