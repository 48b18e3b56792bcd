"""A user's repository on disk, worked on with the user's own git, and our view of it."""

import concurrent.futures.thread  # noqa: F401 - imported late, when a test may no longer read the library
import multiprocessing.connection
import multiprocessing.popen_fork  # noqa: F401 - likewise
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.clock import SystemClock
from orchestrator.mounts import Bind
from orchestrator.subprocesses import Completed, Identity, run
from orchestrator.workspace.container_git import OBJECTS_TARGET
from orchestrator.workspace.workspace import Workspace

ORDINARY_UID = 1000
CALLERS = ["caller", "root on another's", "ordinary"] if os.geteuid() == 0 else ["caller"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    folder: Path
    home: Path
    repositories: Path
    owner: Identity | None
    """Who works in the folder, when not the one who runs the tests."""

    async def try_git(self, *args: str, cwd: Path | None = None, **env: str) -> Completed:
        settings = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C",
            **env,
        }
        return await run(
            ("git", *args), timeout=60, env=settings, cwd=cwd or self.folder, identity=self.owner
        )

    async def git(self, *args: str, cwd: Path | None = None, **env: str) -> str:
        done = await self.try_git(*args, cwd=cwd, **env)
        assert done.exit_code == 0, done.stderr.decode(errors="replace")
        return os.fsdecode(done.stdout).rstrip("\n")

    def write(self, path: str, content: str | bytes = "text\n") -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        self.own()
        return target

    def own(self) -> None:
        """Give the files that root wrote for a test to the folder's owner."""
        if self.owner is None:
            return
        for parent, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                os.chown(Path(parent) / name, self.owner.uid, self.owner.gid, follow_symlinks=False)
        os.chown(self.folder, self.owner.uid, self.owner.gid)

    async def commit(self, message: str = "work") -> str:
        await self.git("add", "-A")
        await self.git("commit", "-q", "--allow-empty", "-m", message)
        return await self.git("rev-parse", "HEAD")

    async def open(self) -> Workspace:
        return await Workspace.open(
            self.folder, repositories=self.repositories, environ=os.environ, clock=SystemClock()
        )

    async def inside(self, mounts: Sequence[Bind], *args: str, folder: Path | None = None) -> tuple[int, str]:
        """Git as a container runs it: by the mounted repository, its stores at their real places."""
        own = next(mount.source for mount in mounts if not mount.read_only)
        stores = [str(mount.source) for mount in mounts if mount.target.startswith(OBJECTS_TARGET)]
        (own / "objects/info/alternates").write_text("".join(f"{store}\n" for store in stores))
        where = folder or self.folder
        done = await self.try_git(
            *args, cwd=where, GIT_DIR=str(own), GIT_WORK_TREE=str(where), HOME="/nonexistent"
        )
        return done.exit_code, (done.stdout + done.stderr).decode(errors="replace").rstrip("\n")

    async def fsck(self) -> str:
        done = await self.try_git("fsck", "--strict", "--no-dangling")
        return (done.stdout + done.stderr).decode(errors="replace").strip()

    def owners(self) -> set[int]:
        found = {self.folder.stat().st_uid}
        for parent, folders, files in os.walk(self.folder):
            found |= {(Path(parent) / name).lstat().st_uid for name in (*folders, *files)}
        return found


@pytest.fixture
def area(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A scratch folder that another user can reach too; pytest's own are closed to others."""
    top = Path(tempfile.mkdtemp(prefix="workspace-"))
    top.chmod(0o755)
    (top / "home").mkdir(mode=0o755)
    monkeypatch.setenv("HOME", str(top / "home"))
    for name in ("XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL"):
        monkeypatch.delenv(name, raising=False)
    yield top
    shutil.rmtree(top)


@pytest.fixture(params=CALLERS)
async def project(request: pytest.FixtureRequest, area: Path) -> AsyncIterator[Project]:
    """A repository with one commit: the caller's own and, for root, another user's and as another user."""
    other = Identity(uid=ORDINARY_UID, gid=ORDINARY_UID)
    match request.param:
        case "caller":
            yield await new_project(area, "project", None)
        case "root on another's":
            yield await new_project(area, "project", other)
        case "ordinary":
            with _effective_user(other, area):
                yield await new_project(area, "project", None)


@contextmanager
def _effective_user(user: Identity, area: Path) -> Iterator[None]:
    """Root's test continues as an ordinary user, in a scratch folder of that user."""
    for path in (area, *area.iterdir()):
        os.chown(path, user.uid, user.gid)
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
async def own_project(area: Path) -> Project:
    return await new_project(area, "project", None)


@pytest.fixture
def make_project(area: Path) -> Callable[..., Awaitable[Project]]:
    """Makes the caller's repository under a name, with further words for `git init`."""

    async def make(name: str, *init: str) -> Project:
        return await new_project(area, name, None, *init)

    return make


async def new_project(area: Path, name: str, owner: Identity | None, *init: str) -> Project:
    folder = area / name
    folder.mkdir()
    project = Project(folder=folder, home=area / "home", repositories=area / "state" / "git", owner=owner)
    project.own()
    await project.git("init", "-q", "-b", "main", *init)
    await project.git("config", "user.name", "Ada")
    await project.git("config", "user.email", "ada@example.org")
    project.write("a.py", "print(1)\n")
    project.write("src/deep/b.py", "b = 1\n")
    project.write(".gitignore", "*.log\n.env\nbuild/\n")
    await project.commit("first")
    return project
