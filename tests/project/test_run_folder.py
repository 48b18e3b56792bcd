"""Where a run stores its files: created from scratch for each attempt, readable by the right user."""

import os
import stat
from pathlib import Path

import pytest

from orchestrator.gates.failures import judge_before_the_work
from orchestrator.project.run_folder import AttemptFolders, RunFolder
from orchestrator.subprocesses import Identity

ME = Identity(uid=os.geteuid(), gid=os.getegid())


@pytest.fixture
def folders(tmp_path: Path) -> AttemptFolders:
    return RunFolder(root=tmp_path / "run").attempt("1.1", 2)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_inbox_is_open_to_others(folders: AttemptFolders) -> None:
    folders.make(ME)
    assert mode(folders.inbox) & 0o055 == 0o055
    assert {mode(path) for path in (folders.root, folders.outbox, folders.home, folders.transcript)} == {
        0o700
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_the_container_writes_to_belongs_to_its_user(folders: AttemptFolders) -> None:
    folders.make(Identity(uid=1234, gid=4321))
    owners = {path.name: path.stat().st_uid for path in folders.root.iterdir()}
    assert owners == {"out": 1234, "home": 1234, "in": os.geteuid(), "transcript": os.geteuid()}


def test_what_a_killed_start_left_is_replaced(folders: AttemptFolders) -> None:
    folders.make(ME)
    (folders.outbox / "outcome.json").write_text("{}")
    (folders.home / "planted").symlink_to("/etc")
    folders.make(ME)
    assert list(folders.outbox.iterdir()) == list(folders.home.iterdir()) == []
    assert Path("/etc/passwd").exists()


def test_attempts_and_tasks_have_separate_folders(tmp_path: Path) -> None:
    run = RunFolder(root=tmp_path)
    places = [run.attempt(task, number).root for task in ("1", "1.1", "11") for number in (1, 11)]
    assert len(set(places)) == len(places)
    assert not [a for a in places for b in places if a != b and a.is_relative_to(b)]


BEFORE = {
    "green": ("make check", 0, "already_green"),
    "red": ("make check", 1, "red"),
    "not executable": ("./check.sh", 126, "absent"),
    "not found": ("pytest tests/test_new.py", 127, "absent"),
    "pytest's usage error: no such file": ("pytest tests/test_new.py", 4, "absent"),
    "pytest has nothing to run": ("uv run pytest -k new", 5, "absent"),
    "pytest, tests fail": ("pytest", 1, "red"),
    "pytest, interrupted": ("pytest", 2, "red"),
    "exit 4 of something else": ("make check", 4, "red"),
    "exit 5 of something else": ("make check", 5, "red"),
    "too long": ("make check", 124, "red"),
    "killed": ("make check", 137, "red"),
}


@pytest.mark.parametrize(("command", "exit_code", "expected"), BEFORE.values(), ids=BEFORE)
def test_what_an_exit_code_means_on_the_base(command: str, exit_code: int, expected: str) -> None:
    assert judge_before_the_work(command, exit_code) == expected
