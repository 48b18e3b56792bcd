"""Outputs of finished runs are compressed at the end of a run and by `clean`; every command reads both."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_kit import orchestrate, remember
from run_histories import READY, RUN, attempt, ended, run_ended, state_after

from orchestrator.commands.clean import CleanRequest, clean
from orchestrator.project.compression import compress_outputs, list_compressible, may_compress
from orchestrator.project.locks import RunLock
from orchestrator.project.run_folder import RunFolder
from orchestrator.project.transcripts import TranscriptReader
from orchestrator.testing.agent import ScriptedAgent, exits, reports, says, works
from orchestrator.testing.project import TemporaryProject

MakeProject = Callable[..., TemporaryProject]
LONG = says("says something\n" * 1000)
TALKS = ScriptedAgent({("1", 1): (LONG, *works("1"), exits(0))})
FAILS = ScriptedAgent({("1", 1): (LONG, reports("failed"), exits(1))})


def outputs(project: TemporaryProject) -> list[str]:
    found = (project.state / "runs").glob("*/attempts/*/*/transcript/*")
    return sorted(path.name for path in found)


def cleaned(project: TemporaryProject, request: CleanRequest) -> list[str]:
    said: list[str] = []
    project.do(clean(project.host, request, say=said.append))
    return [line for line in said if "output" in line]


@pytest.mark.parametrize("agent", [TALKS, FAILS], ids=["completed", "failed"])
def test_a_finished_run_leaves_compressed_output(make_project: MakeProject, agent: ScriptedAgent) -> None:
    project = make_project(agent=agent)
    project.run(config=("limits.attempts=1",))
    assert outputs(project) == ["stderr", "stdout.gz"]
    assert cleaned(project, CleanRequest()) == []
    if agent is FAILS:
        assert project.resume().status == "completed", "it can be continued"


@pytest.mark.parametrize("status", ["parked", "waiting", "interrupted"])
def test_a_run_whose_agent_may_be_at_work_keeps_its_files(status: str) -> None:
    assert not may_compress(state_after(*READY, attempt(1), run_ended(status)))  # type: ignore[arg-type]
    assert may_compress(state_after(*READY, attempt(1), run_ended("completed")))


def test_clean_compresses_what_the_end_of_a_run_left(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.commands.start.AT_ONCE_BYTES", 1000)
    project = make_project(agent=TALKS)
    report = project.run()
    assert "stdout" in outputs(project)
    draft = next((project.state / "runs").glob("*/attempts/*/*/transcript")) / ".orchestrator-0.new"
    draft.write_bytes(b"of a process that was killed")
    [would] = cleaned(project, CleanRequest(dry_run=True))
    assert would.startswith("would compress the output of 1 finished run, ") and "stdout" in outputs(project)
    lock = RunLock.take(project.state / "runs" / report.run / "lock", project.clock)
    assert lock is not None and cleaned(project, CleanRequest()) == [], "its owner is at work"
    lock.release()
    [did] = cleaned(project, CleanRequest())
    assert did.startswith("compressed the output of 1 finished run, and freed ")
    assert "stdout" not in outputs(project) and not draft.exists()
    assert cleaned(project, CleanRequest()) == []


LINES = "".join(f"line {number} says something\n" for number in range(1000)).encode() + b"no newline\xff"


@pytest.fixture
def folder() -> RunFolder:
    """A failed run with the output of an attempt and of a gate."""
    root = remember((*READY, attempt(1), ended("failed"), attempt(2), run_ended("failed")))
    for path in ("attempts/1/1/transcript/stdout", "attempts/1/2/transcript/stdout", "evidence/e1/output"):
        (root / path).parent.mkdir(parents=True)
        (root / path).write_bytes(LINES)
    return RunFolder(root=root)


def compress(folder: RunFolder) -> None:
    state = state_after(*READY, attempt(1), ended("failed"), attempt(2), run_ended("failed"))
    compress_outputs(list_compressible(state, folder))


def test_every_command_reads_both(folder: RunFolder, tmp_path: Path) -> None:
    commands = [
        ("logs", RUN),
        ("logs", RUN, "--attempt", "1", "--raw"),
        ("logs", RUN, "--json"),
        ("logs", RUN, "--follow"),
        ("logs", RUN, "--evidence", "e1"),
        ("report", RUN),
    ]
    before = [orchestrate(*words, cwd=tmp_path) for words in commands]
    compress(folder)
    left = sorted(str(path.relative_to(folder.root)) for path in folder.root.rglob("*") if path.is_file())
    assert [path for path in left if "lock" not in path] == [
        "attempts/1/1/transcript/stdout.gz",
        "attempts/1/2/transcript/stdout",
        "evidence/e1/output.gz",
    ], "an attempt without an end is appended to by its next owner"
    after = [orchestrate(*words, cwd=tmp_path) for words in commands]
    for old, new in zip(before, after, strict=True):
        assert (new.returncode, new.stdout, new.stderr) == (old.returncode, old.stdout, old.stderr)
        assert old.returncode == 0
    texts = [json.loads(line)["text"] for line in after[2].stdout.splitlines()]
    assert len(texts) == 2002 and texts[999] == "line 999 says something"


def test_a_reader_continues_when_its_file_is_compressed_meanwhile(folder: RunFolder) -> None:
    transcript = folder.root / "attempts/1/1/transcript"
    reader = TranscriptReader(transcript)
    assert len(list(reader.new_lines(ended=False))) == 1000
    compress(folder)
    assert [line.data for line in reader.new_lines(ended=True)] == [b"no newline\xff"]


def test_damaged_output_is_named_with_its_file(folder: RunFolder, tmp_path: Path) -> None:
    compress(folder)
    path = folder.root / "attempts/1/1/transcript/stdout.gz"
    path.write_bytes(path.read_bytes()[:-20])
    for words in (("logs", RUN), ("logs", RUN, "--raw", "--attempt", "1"), ("logs", RUN, "--follow")):
        done = orchestrate(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert (
            f"{path}: the stored output cannot be read: the compressed data are incomplete"
            in done.stderr.decode()
        )


def test_a_limit_leaves_the_rest_for_later(folder: RunFolder) -> None:
    paths = list_compressible(state_after(*READY, attempt(1), ended("failed"), run_ended("failed")), folder)
    assert compress_outputs(paths, limit=len(LINES)) > 0
    assert [path.exists() for path in paths] == [False, True]
