import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_kit import Reader, write_command

WRITE = {"name": "Write", "input": {"file_path": "/workspace/path/to/file", "content": "Hello\n"}}
READ = {"name": "Read", "input": {"file_path": "/workspace/path/to/file"}}
OUTCOME = {"outcome": {"status": "completed", "summary": "It is done.", "handoff": "One line."}}
MODEL = {
    "schema": 1,
    "tasks": {"1.1": {"steps": [{"tools": [WRITE]}, OUTCOME]}, "*": {"steps": [{"tools": [READ]}, OUTCOME]}},
}
"""Carries out the skeleton that `plan new` writes."""


@pytest.fixture
def area() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ktrdr-docs-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def reader(area: Path) -> Reader:
    """A repository with a commit, a scripted model in place of a key, and the command on PATH."""
    write_command(area / "bin")
    for name in ("code", "home", "state"):
        (area / name).mkdir()
    (area / "model.json").write_text(json.dumps(MODEL))
    environment = {
        "PATH": f"{area / 'bin'}:{os.environ['PATH']}",
        "HOME": str(area / "home"),
        "XDG_STATE_HOME": str(area / "state"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
        "ORCHESTRATOR_GATEWAY_SCRIPTED": str(area / "model.json"),
        **{name: os.environ[name] for name in ("DOCKER_HOST", "DOCKER_CONTEXT") if name in os.environ},
    }
    reader = Reader(folder=area / "code", environment=environment)
    reader.git("init", "-q", "-b", "main")
    reader.git("config", "user.name", "Ada")
    reader.git("config", "user.email", "ada@example.org")
    reader.git("commit", "-q", "--allow-empty", "-m", "start")
    return reader
