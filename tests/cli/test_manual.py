"""The manual page: complete, without a warning of the formatter, and part of the wheel."""

import os
import shutil
import subprocess  # noqa: TID251 - the formatter, and the build of a wheel
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrator.cli.descriptions import DESCRIPTIONS
from orchestrator.cli.manual import render
from orchestrator.cli.reference import commands

ROOT = Path(__file__).parents[2]


def test_it_has_every_command_option_example_and_exit_code() -> None:
    page = render().replace(r"\-", "-")
    for name, _, parser in commands():
        assert f"orchestrator {name}" in page
        for action in parser._actions:
            assert all(option in page for option in action.option_strings)
        for example in DESCRIPTIONS[name].examples:
            assert f".B {example.command}\n{example.does}" in page
    assert "Exit codes: 0 completed; 1 a task or the end-to-end scenario has failed" in " ".join(page.split())


@pytest.mark.parametrize("columns", ["20", "80"])
def test_man_has_no_warning(tmp_path: Path, columns: str) -> None:
    if shutil.which("man") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("man is not installed")
    page = tmp_path / "orchestrator.1"
    page.write_text(render(), "utf-8")
    done = subprocess.run(
        ["man", "--warnings", "--local-file", "--encoding=UTF-8", "-Tutf8", page],
        env={"PATH": os.environ["PATH"], "MANWIDTH": columns, "LC_ALL": "C.UTF-8", "MANPAGER": "cat"},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"orchestrator plan check" in done.stdout


def test_a_wheel_has_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [each for each in opened.namelist() if each.endswith("share/man/man1/orchestrator.1")]
        assert opened.read(name).startswith(b".TH ORCHESTRATOR")
