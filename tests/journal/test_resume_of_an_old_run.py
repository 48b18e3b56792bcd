"""A run that version 1 began is resumed: its folder, its repository and its journal are stored here."""

import json
import os
import shlex
import sqlite3
import subprocess  # noqa: TID251 - the command is started as a user's shell does
import sys
import tarfile
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

import orchestrator

STORED = Path(__file__).parent / "stored"
RUN = "plan-dfb6e2"
AGENT = """
echo "bye" > goodbye.txt
echo '{"status": "completed", "summary": "It is said."}' > "$ORCHESTRATOR_OUTCOME"
"""


@pytest.fixture
def code(folder: Path) -> Path:
    """The project of the run; its state folder is where `command` looks for it."""
    with tarfile.open(STORED / "version-1.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    code = (folder / "code").resolve()
    state = folder / "ktrdr-orchestrator"
    (folder / "state").rename(state)
    state.chmod(0o700)
    name = sha256(os.fsencode(code / ".git")).hexdigest()[:24]
    (state / "repositories" / "own").rename(state / "repositories" / name)
    with closing(sqlite3.connect(state / "journal.sqlite")) as connection:
        script = (STORED / "version-1.sql").read_text("utf-8")
        connection.executescript(script.replace('"/code"', json.dumps(str(code))))
    return code


def command(code: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "orchestrator.cli.main", *words]
    environ = {
        **os.environ,
        "XDG_STATE_HOME": str(code.parent),
        "PYTHONPATH": str(Path(orchestrator.__file__).parents[1]),
    }
    return subprocess.run(argv, cwd=code, env=environ, capture_output=True, text=True, timeout=200)


@pytest.mark.docker
def test_a_run_of_an_old_journal_continues_where_it_was(code: Path) -> None:
    agent = shlex.join(("bash", "-c", AGENT))
    done = command(code, "resume", RUN, "-g", "a", "--json", "--agent-command", agent)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = json.loads(command(code, "status", RUN, "--json").stdout)["runs"]
    assert [task["status"] for task in run["tasks"]] == ["completed", "completed"]
    assert [task["evidence"] for task in run["tasks"]] == [["e3"], ["e6"]]
    assert [attempt["attempt"] for attempt in run["tasks"][1]["attempts"]] == [1, 2, 3, 4]
    assert run["e2e"]["evidence"] == ["e8"]
