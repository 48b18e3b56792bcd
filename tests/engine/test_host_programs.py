"""The host never runs a program from the repository in which the command was started."""

import os
from pathlib import Path

import pytest

from orchestrator import subprocesses


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose virtual environment is on the caller's PATH, with a `bash` of its own."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    trap = programs / "bash"
    trap.write_text("#!/bin/sh\necho planted\n")
    trap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def said() -> bytes:
    return (await subprocesses.run(["bash", "-c", "echo real"], timeout=30)).stdout


async def test_the_planted_program_runs_outside_of_a_repository(planted: Path) -> None:
    assert await said() == b"planted\n"


async def test_nothing_of_the_repository_runs(planted: Path) -> None:
    (planted / ".git").mkdir()
    assert await said() == b"real\n"
    lines: list[str] = []
    await subprocesses.run_lines(["bash", "-c", "echo real"], timeout=30, on_line=lines.append)
    assert lines == ["real"]
    assert await subprocesses.run_attached(["bash", "-c", "exit 7"]) == 7


def test_a_link_that_leads_over_the_repository_is_left_out(
    planted: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Today it ends outside; an agent could let it end elsewhere, and the answer is remembered."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "bin").mkdir()
    (planted / "link").symlink_to(outside / "bin")
    (outside / "over").symlink_to(planted / "link")
    (outside / "round").symlink_to(outside / "round")
    (outside / "direct").symlink_to("bin")
    names = ("over", "round", "direct", "bin", "absent")
    monkeypatch.setenv("PATH", os.pathsep.join([*(f"{outside / name}" for name in names), "relative"]))
    kept = subprocesses.search_path(outside=planted).split(os.pathsep)
    assert kept == [str(outside / name) for name in ("direct", "bin", "absent")]
