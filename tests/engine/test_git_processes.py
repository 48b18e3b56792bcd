"""How often a run starts git: each start costs milliseconds, and a task has several steps that ask it."""

from pathlib import Path

import pytest

from orchestrator import subprocesses
from orchestrator.testing.project import TemporaryProject

MOST_OF_A_TASK = 85
MOST_BEFORE_AND_AFTER = 30


def count_git_processes(folder: Path, monkeypatch: pytest.MonkeyPatch, tasks: tuple[str, ...]) -> int:
    started: list[str] = []
    run = subprocesses.run

    async def counted(argv, **options):
        started.append(argv[0])
        return await run(argv, **options)

    folder.mkdir()
    with monkeypatch.context() as patch, TemporaryProject(folder, tasks=tasks) as project:
        patch.setattr("orchestrator.workspace.git.run", counted)
        assert project.run().exit_code == 0
    return len(started)


def test_a_task_starts_few_git_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = count_git_processes(tmp_path / "two", monkeypatch, ("1", "2"))
    three = count_git_processes(tmp_path / "three", monkeypatch, ("1", "2", "3"))
    assert three - two <= MOST_OF_A_TASK
    assert two - 2 * (three - two) <= MOST_BEFORE_AND_AFTER
