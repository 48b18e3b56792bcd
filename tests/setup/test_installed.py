"""The wheel as a user has it: in a path with spaces, read-only, of another user, with an empty HOME.

NEWCOMER=all (`make newcomer`) also carries out the example with it.
"""

import os
import shutil
import subprocess  # noqa: TID251 - installs and types as a user does
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ANOTHER_USER = 1000
"""Who uses the program, if the tests may choose."""
SOCKET = Path("/var/run/docker.sock")


def find_shared_python() -> Path | None:
    """A Python of version 3.11 or later that another user can start: one below /root, for example, is not."""
    for name in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        program = Path(name)
        if not program.exists() or not all(folder.stat().st_mode & 0o001 for folder in program.parents):
            continue
        asked = [name, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        if subprocess.run(asked).returncode == 0:
            return program
    return None


class Newcomer:
    """A program that another user has installed, a HOME without anything, and a small repository."""

    def __init__(self, program: Path, area: Path, *, user: int) -> None:
        self.program = program
        self.user = user
        self.home = area / "home"
        self.project = area / "project"
        for folder in (area, self.home, self.project):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
        (self.project / "package.json").write_text('{"scripts": {"test": "node --test"}}\n')
        for path in (self.home, self.project, self.project / "package.json"):
            os.chown(path, user, -1)

    def types(self, *words: str, status: int = 0) -> str:
        """The output of a command of this user, which must end with this status."""
        identity: dict[str, object] = {}
        if self.user != os.getuid():
            groups = [SOCKET.stat().st_gid] if SOCKET.exists() else []
            identity = {"user": self.user, "group": self.user, "extra_groups": groups}
        done = subprocess.run(
            words,
            cwd=self.project,
            env={"PATH": f"{self.program.parent}:/usr/local/bin:/usr/bin:/bin", "HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=280,
            **identity,  # type: ignore[call-overload]
        )
        output: str = done.stdout.decode()
        assert done.returncode == status, f"{words} ended with {done.returncode}:\n{output}"
        return output


@pytest.fixture(scope="module")
def newcomer(root: Path, wheel: Path) -> Iterator[Newcomer]:
    area = Path(tempfile.mkdtemp(prefix="ktrdr newcomer "))
    environment = area / "a path with spaces"
    uv, python = root / ".cache" / "uv" / "bin" / "uv", environment / "bin" / "python"
    shared = find_shared_python()
    base = shared or sys.executable
    subprocess.run([uv, "venv", "--quiet", "--python", base, environment], check=True)
    install = ("pip", "install", "--quiet", "--python", python, "--constraint", root / "requirements.lock")
    trusting = 'source scripts/lib.sh; trust_machine_certificates; exec "$@"'
    argv: list[str | Path] = ["bash", "-c", trusting, "bash", uv, *install, wheel]
    subprocess.run(argv, cwd=root, check=True, timeout=280)
    for path in environment.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    user = ANOTHER_USER if os.getuid() == 0 and shared is not None else os.getuid()
    yield Newcomer(environment / "bin" / "orchestrator", area, user=user)
    shutil.rmtree(area, ignore_errors=True)


def test_commands_that_need_no_engine(newcomer: Newcomer) -> None:
    assert newcomer.types("orchestrator", "--version").startswith("orchestrator ")
    assert "carry out a plan" in newcomer.types("orchestrator", "--help")
    assert "_orchestrator" in newcomer.types("orchestrator", "completion", "bash")
    newcomer.types("git", "init", "--quiet")
    assert "npm test" in newcomer.types("orchestrator", "init", "--yes")
    newcomer.types("orchestrator", "plan", "new", "Greeting", "--output", "plan.md")
    assert "placeholder" in newcomer.types("orchestrator", "plan", "check", "plan.md")
    assert "no runs yet" in newcomer.types("orchestrator", "status")
    assert newcomer.program.stat().st_mode & 0o222 == 0


def test_a_manual_page_comes_with_it(newcomer: Newcomer) -> None:
    page = newcomer.program.parents[1] / "share" / "man" / "man1" / "orchestrator.1"
    assert "exit status" in page.read_text("utf-8").lower()


@pytest.mark.docker
def test_doctor_and_the_example(newcomer: Newcomer, capsys: pytest.CaptureFixture[str]) -> None:
    checked = newcomer.types("orchestrator", "doctor", "--check", "engine", "--check", "image")
    assert "✗" not in checked, checked
    if os.environ.get("NEWCOMER") != "all":
        return
    begun = time.monotonic()
    assert "end to end: passed" in newcomer.types("orchestrator", "demo")
    with capsys.disabled():
        print(f"\nfrom the installed wheel to the end of the example: {time.monotonic() - begun:.0f} s")
