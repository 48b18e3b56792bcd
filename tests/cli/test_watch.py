"""`watch`: what is stored, then what comes, until the run has ended; the run itself is left alone."""

import json
import os
import pty
import signal
import subprocess  # noqa: TID251 - the command is started as a user's shell does
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_kit import environment, orchestrate, remember
from msgspec.structs import replace
from run_histories import READY, RUN, Entry, attempt, begun, ended, finished, gate, resumed, run_ended

from orchestrator.clock import SystemClock
from orchestrator.project.locks import RunLock
from orchestrator.project.run_folder import RunFolder
from orchestrator.run.facts import AgentText, RunStarted

DONE = (*READY, attempt(), ended("completed"), gate("pass"), finished(), run_ended("completed", 0))
FAILED = (*READY, attempt(), ended("failed"), finished("failed"), run_ended("failed", 1))


def says(text: str) -> Entry:
    return Entry(AgentText(text=text), "1", 1)


def numbers(out: bytes) -> list[int]:
    return [json.loads(line)["n"] for line in out.splitlines()]


@contextmanager
def owned(entries: Iterable[Entry], run: str = RUN) -> Iterator[None]:
    """A run with these facts that this process carries out."""
    lock = RunLock.take(RunFolder(root=remember(entries, run)).lock, SystemClock())
    assert lock is not None
    try:
        yield
    finally:
        lock.release()


def start(*words: str, cwd: Path) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-m", "orchestrator.cli.main", *words]
    return subprocess.Popen(argv, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize(("entries", "own"), [(DONE, 0), (FAILED, 1)], ids=["completed", "failed"])
def test_a_run_that_has_ended_is_shown_whole(tmp_path: Path, entries: tuple[Entry, ...], own: int) -> None:
    remember(entries)
    done = orchestrate("watch", RUN, cwd=tmp_path)
    first, *lines = done.stdout.decode().splitlines()
    assert f"run {RUN}: A greeting" in first and lines[-1].startswith("next: "), lines
    assert done.returncode == 0 and done.stderr == b""
    assert orchestrate("watch", RUN, "--exit-status", cwd=tmp_path).returncode == own
    events = orchestrate("watch", RUN, "--json", "--exit-status", cwd=tmp_path)
    assert numbers(events.stdout) == list(range(1, len(entries) + 1))
    assert events.returncode == own


def test_only_what_comes_after_a_number(tmp_path: Path) -> None:
    remember(DONE)
    assert numbers(orchestrate("watch", RUN, "--json", "--after", "3", cwd=tmp_path).stdout)[0] == 4
    lines = orchestrate("watch", RUN, "--after", "3", cwd=tmp_path).stdout.decode().splitlines()
    assert "task    1 (1 of 1): Title of 1" in lines[0]
    refused = orchestrate("watch", RUN, "--after", "-1", cwd=tmp_path)
    assert refused.returncode == 2 and b"numbered from 1" in refused.stderr


def test_facts_of_every_process_are_shown_until_the_owner_has_gone(tmp_path: Path) -> None:
    with owned((*READY, attempt())):
        process = start("watch", RUN, "--json", cwd=tmp_path)
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["n"] for _ in range(5)] == [1, 2, 3, 4, 5]
        remember([says("more")])
        assert json.loads(process.stdout.readline())["text"] == "more"
        remember([ended("completed"), finished(), run_ended("completed", 0)])
    out, _ = process.communicate(timeout=60)
    assert numbers(out) == [7, 8, 9] and process.returncode == 0


def test_a_run_whose_process_has_disappeared(tmp_path: Path) -> None:
    remember((*READY, attempt()))
    done = orchestrate("watch", RUN, cwd=tmp_path)
    assert done.returncode == 130 and b"its process has disappeared" in done.stderr
    assert done.stdout.decode().splitlines()[-1] == f"next: cd /code && orchestrator resume {RUN}"
    events = orchestrate("watch", RUN, "--json", cwd=tmp_path)
    assert events.returncode == 130 and numbers(events.stdout) == [1, 2, 3, 4, 5]


def test_a_resumed_run_has_not_ended(tmp_path: Path) -> None:
    remember((*FAILED, resumed()))
    assert orchestrate("watch", RUN, cwd=tmp_path).returncode == 130


def test_an_interrupt_leaves_the_run_alone(tmp_path: Path) -> None:
    with owned((*READY, attempt())):
        process = start("watch", RUN, cwd=tmp_path)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert error.decode() == f"run {RUN} is still running; to watch it again: orchestrator watch {RUN}\n"
    assert process.returncode == 130


def test_at_a_terminal_the_past_is_shortened(tmp_path: Path) -> None:
    remember((*READY, attempt(), *(says(f"line {n}") for n in range(300)), run_ended("failed", 1)))
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "orchestrator.cli.main", "watch", RUN]
    with subprocess.Popen(argv, cwd=tmp_path, env=environment(), stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        screen = b""
        try:
            while piece := os.read(ours, 65_536):
                screen += piece
        except OSError:  # the other end was closed: Linux says so by an error
            pass
    os.close(ours)
    lines = screen.decode().splitlines()
    assert process.returncode == 0 and lines[0] == "… earlier lines are left out"
    assert [line.split()[-1] for line in lines[1:20]] == [str(n) for n in range(281, 300)], lines


def test_without_an_id_it_is_the_run_that_is_carried_out_here_else_the_latest(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    (folder / ".git").mkdir(parents=True)
    none = orchestrate("watch", cwd=folder)
    assert none.returncode == 2 and b"no run has been started in this folder" in none.stderr
    for run in ("older", "newer"):
        started = begun().body
        assert isinstance(started, RunStarted)
        remember([Entry(replace(started, folder=str(folder))), run_ended("failed", 1)], run)
    assert b"run newer: A greeting" in orchestrate("watch", cwd=folder).stdout
    with owned([resumed()], "older"):
        process = start("watch", "--json", cwd=folder)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["run"] == "older"
    process.communicate(timeout=60)
    assert process.returncode == 130
