"""The Compose file builds the image, and gives a container neither the engine nor a copy of the code."""

from pathlib import Path

import pytest


@pytest.fixture
def compose(root: Path) -> Path:
    return root / "deploy" / "environments" / "coding-agent" / "docker-compose.yml"


def code(compose: Path) -> list[str]:
    return [line.strip() for line in compose.read_text().splitlines() if not line.lstrip().startswith("#")]


def test_no_socket_and_no_workspace(compose: Path) -> None:
    text = "\n".join(code(compose))
    assert "docker.sock" not in text
    assert "workspace" not in text
    assert "privileged" not in text


@pytest.mark.parametrize("volume", ["claude-credentials", "models", "strategies", "logs"])
def test_the_volumes_it_keeps(compose: Path, volume: str) -> None:
    lines = code(compose)
    assert any(line.startswith(f"- coding-agent-{volume}:/") for line in lines)
    assert f"name: coding-agent-{volume}" in lines


def test_the_shared_data_is_read_only(compose: Path) -> None:
    assert "- ${HOME}/Documents/ktrdr-shared/data:/shared/data:ro" in code(compose)


def test_it_builds_the_one_recipe(compose: Path) -> None:
    context = next(line.removeprefix("context: ") for line in code(compose) if line.startswith("context: "))
    assert (compose.parent / context / "Dockerfile").is_file()
    assert "image: ktrdr-coding-agent:latest" in code(compose)


def test_its_comments_say_what_it_is_for(compose: Path) -> None:
    comments = "\n".join(line for line in compose.read_text().splitlines() if line.startswith("#"))
    assert "BUILDING THE IMAGE only" in comments
    assert "docker run -d --name ktrdr-coding-agent" in comments
