"""Installed packages are those of the lock files: pinned, with hashes, from the caller's index."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ["requirements.lock", "scripts/bootstrap.lock", "deploy/docker/coding-agent/fetch.lock"]


def entries(lock: Path) -> list[str]:
    """Each requirement with its hashes on one line."""
    joined = lock.read_text().replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_pinned_and_hashed(root: Path, name: str) -> None:
    lines = entries(root / name)
    assert lines
    for line in lines:
        assert re.match(r"^[\w.-]+==[\w.]+ ", line), line
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), line


@pytest.mark.parametrize("name", LOCKS)
def test_no_lock_file_names_a_registry(root: Path, name: str) -> None:
    text = (root / name).read_text()
    assert "://" not in text
    assert "--index-url" not in text and "--find-links" not in text


def test_the_lock_file_satisfies_the_project(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [
        Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["dev"])
    ]
    pinned = {
        canonicalize_name(name): version
        for name, version in (line.split(" ")[0].split("==") for line in entries(root / "requirements.lock"))
    }
    for requirement in wanted:
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_the_image_has_the_uv_that_makes_the_environment(root: Path) -> None:
    versions = {
        line.split(" ")[0] for name in LOCKS[1:] for line in entries(root / name) if line.startswith("uv==")
    }
    assert len(versions) == 1
