"""Every way to build gives the one image, and a failing build speaks with Docker's words."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.containers.images import build_image, build_script
from orchestrator.errors import CodingAgentError, EnvironmentInvalid
from orchestrator.subprocesses import run

PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")


@pytest.fixture
async def name() -> AsyncIterator[str]:
    """A name for an image, which is removed afterwards."""
    name = f"ktrdr-test-{uuid.uuid4().hex[:8]}:latest"
    yield name
    await run(["docker", "image", "rm", name], timeout=60)


async def history(name: str) -> str:
    shown = await run(["docker", "history", "--no-trunc", name], timeout=60)
    return shown.stdout.decode()


@pytest.mark.docker
async def test_the_command_line_and_the_script_give_the_same_image(name: str, scripts: Path) -> None:
    lines: list[str] = []
    built = await build_image(name=name, base=None, on_line=lines.append)
    assert built.startswith("sha256:")
    assert any(name in line for line in lines)

    by_script = await run(["bash", str(scripts / "build-image.sh"), name], timeout=900)
    assert by_script.exit_code == 0, by_script.stderr.decode()
    shown = await run(["docker", "image", "inspect", "--format", "{{.Id}}", name], timeout=60)
    assert shown.stdout.decode().strip() == built


@pytest.mark.docker
async def test_a_proxys_password_stays_out_of_the_build(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in PROXIES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://someone:canary-7c1@proxy.invalid:3128")
    lines: list[str] = []
    await build_image(name=name, base=None, on_line=lines.append)
    assert any(line.startswith("HTTP_PROXY holds a password; it is not passed") for line in lines)
    assert "canary-7c1" not in "\n".join(lines)
    assert "canary-7c1" not in await history(name)


@pytest.mark.docker
async def test_a_base_image_that_is_not_available(name: str) -> None:
    with pytest.raises(CodingAgentError) as failed:
        await build_image(name=name, base="localhost:1/no/such-base:1", on_line=lambda line: None)
    assert "localhost:1" in failed.value.what


@pytest.mark.docker
async def test_dockers_words_about_a_name_it_refuses() -> None:
    with pytest.raises(CodingAgentError, match=r"invalid (argument|reference format)"):
        await build_image(name="Not A Name", base=None, on_line=lambda line: None)


async def test_no_engine_to_build_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(
        EnvironmentInvalid, match=r"^(the docker command is missing|no container engine answers)"
    ):
        await build_image(name="never:built", base=None, on_line=lambda line: None)


def test_a_checkout_builds_with_its_own_script(scripts: Path) -> None:
    assert build_script() == scripts / "build-image.sh"
