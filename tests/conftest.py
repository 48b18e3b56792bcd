"""For every test: nothing reaches $HOME or the internet; without an engine tests skip or, in CI, fail."""

import os
import shutil
import signal
import socket
import subprocess  # noqa: TID251 - before and after all tests, outside of any of them
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Two busy cores make everything slow at times; no test is about that.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

IMAGE = "ktrdr-coding-agent:latest"

# Looked up once, before HOME is moved away: where the engine listens.
_ENGINE_ENVIRONMENT = {
    name: os.environ[name]
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG")
    if name in os.environ
}


def pytest_configure() -> None:
    """Commands of the tests take signals as they do in a terminal.

    A shell starts what it puts into the background with SIGINT ignored, and `nohup` does so with SIGHUP. The
    program keeps both ignored, and it would inherit that from here.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    wanting = [item for item in items if item.get_closest_marker("docker")]
    if not wanting:
        return
    reason = _engine_missing()
    if reason is None:
        return
    if os.environ.get("CI") == "true":
        raise pytest.UsageError(f"{len(wanting)} tests need a container engine: {reason}")
    for item in wanting:
        item.add_marker(pytest.mark.skip(reason=reason))


def _engine_missing() -> str | None:
    """Why tests with containers cannot run here, or None."""
    import asyncio

    from orchestrator.containers.engine import connect_engine
    from orchestrator.errors import OrchestratorError

    async def look() -> str | None:
        engine = await connect_engine()
        try:
            found = await engine.image_digest(IMAGE)
        finally:
            await engine.close()
        return None if found is not None else f"there is no image {IMAGE}: make setup"

    try:
        return asyncio.run(look())
    except OrchestratorError as error:
        return str(error).replace("\n", " ")


_images_before = pytest.StashKey[set[str]]()


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_images_before] = _setup_images()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Setup images of this session go; those with packages stay, because they take minutes.

    Only when all workers have ended: one of them may work with what another one made.
    """
    if hasattr(session.config, "workerinput"):
        return
    before = session.config.stash[_images_before]
    for image in _setup_images() - before:
        subprocess.run(["docker", "image", "rm", image], capture_output=True, check=False)


def _setup_images() -> set[str]:
    if shutil.which("docker") is None:
        return set()
    asked = ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", "ktrdr-setup"]
    return set(subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split())


@pytest.fixture(autouse=True)
def _closed_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A HOME of the test's own, no credential, no setting and no git configuration of the caller's."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in list(os.environ):
        if name.startswith(("ORCHESTRATOR_", "ANTHROPIC_", "CLAUDE_", "GIT_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name, value in _ENGINE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _no_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections leave this machine never: a test that tries has an error that says so."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(
            ("127.", "::1", "localhost", "172.")
        ):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder that goes away even where a container's root wrote into it."""
    place = tmp_path / "code"
    place.mkdir()
    yield place
    shutil.rmtree(place, ignore_errors=True)
