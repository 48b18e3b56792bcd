"""Tasks that no command checks: `plan check` counts configured checks, and `verify.require` refuses."""

import json
import subprocess  # noqa: TID251 - makes a repository as a user does
from pathlib import Path

import pytest
from cli_kit import orchestrate

PLAN = """\
# Milestone 1: Greet

## Task 1: Write it

**Type:** CODING
**Description:** Do it.
**Acceptance Criteria:**
- [ ] It greets

## Task 2: Read about it

**Type:** RESEARCH
**Description:** Do it.
**Acceptance Criteria:**
- [ ] It is known
"""
GUARD = "[verify]\ntask = ['make test']\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "plan.md").write_text(PLAN)
    for words in (
        ("init", "-q", "-b", "main"),
        ("config", "user.name", "Ada"),
        ("config", "user.email", "ada@example.org"),
        ("add", "-A"),
        ("commit", "-q", "-m", "start"),
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("inside", [".", "docs"])
def test_plan_check_counts_a_configured_check(folder: Path, inside: str) -> None:
    (folder / "docs").mkdir()
    words = ("plan", "check", str(folder / "plan.md"))
    without = orchestrate(*words, cwd=folder / inside)
    assert b"warning no-verify " in without.stdout
    assert b"2 of 2 tasks have no check" in without.stdout and b"verify.task" in without.stdout
    (folder / "orchestrator.toml").write_text(GUARD)
    guarded = orchestrate(*words, "--strict", cwd=folder / inside)
    assert guarded.returncode == 0
    assert guarded.stdout.decode().splitlines() == [f"{folder / 'plan.md'}: 2 tasks, nothing to report"]


def test_plan_check_reads_no_setting_that_is_not_approved(folder: Path) -> None:
    (folder / "orchestrator.toml").write_text(GUARD + "[image]\nname = 'other:latest'\n")
    assert orchestrate("plan", "check", "plan.md", cwd=folder).returncode == 0


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["as text", "--json"])
def test_a_run_without_the_required_checks_prints_nothing_on_stdout(
    folder: Path, as_json: tuple[str, ...]
) -> None:
    words = ("run", "plan.md", "--agent", "nop", "-c", "verify.require=true", *as_json)
    done = orchestrate(*words, cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"2 of 2 tasks have no check, and verify.require is set: 1, 2" in done.stderr
    assert b"verify.task" in done.stderr
    assert json.loads(orchestrate("history", "--json", cwd=folder).stdout)["runs"] == []
