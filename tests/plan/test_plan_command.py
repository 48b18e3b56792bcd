"""The real command: what it prints, where, and how it ends."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from orchestrator.plan.reader import read_plan
from orchestrator.plan.refnames import branch_problem
from orchestrator.plan.skeleton import PLACEHOLDERS
from orchestrator.subprocesses import Completed, run

GOOD = """\
# Milestone 1: Greet

**Branch:** `feature/greet`

## Goal

Greet.

## Task 1.1: Write it

**Type:** CODING
**Estimated time:** 90 min
**Description:** Do it.
**Acceptance Criteria:**
- [ ] It greets
**Verify:**
```bash
make check
```
"""
WARNS = GOOD.replace("**Type:**", "**Depends on:** 9.9\n**Type:**")
FAILS = GOOD + "\n## Task 1.1: Again\n"


async def orchestrator(*arguments: str, cwd: Path) -> Completed:
    argv = [sys.executable, "-m", "orchestrator.cli.main", *arguments]
    return await run(argv, timeout=60, cwd=cwd, env=dict(os.environ))


async def test_show_as_json_has_exactly_the_documented_fields(tmp_path: Path) -> None:
    (tmp_path / "plan.md").write_text(GOOD)
    done = await orchestrator("plan", "show", "plan.md", "--json", cwd=tmp_path)
    shown = json.loads(done.stdout)
    assert (done.exit_code, done.stderr) == (0, b"")
    assert {key: shown[key] for key in shown if key != "tasks"} == {
        "schema": 1,
        "path": "plan.md",
        "format": "native",
        "id": "1",
        "title": "Milestone 1: Greet",
        "branch": "feature/greet",
        "goal": "Greet.",
        "e2e": None,
        "diagnostics": [],
    }
    (task,) = shown["tasks"]
    digest = task.pop("hash")
    assert len(digest) == 64
    assert task == {
        "id": "1.1",
        "title": "Write it",
        "type": "CODING",
        "files": [],
        "depends_on": [],
        "acceptance": [{"text": "It greets", "done": False}],
        "verify": ["make check"],
        "estimate_minutes": 90,
        "done": False,
        "lines": [9, 19],
    }


async def test_show_of_a_plan_with_errors_prints_all_of_it_and_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "plan.md").write_text(FAILS)
    done = await orchestrator("plan", "show", "plan.md", "--json", cwd=tmp_path)
    assert done.exit_code == 2
    assert [task["id"] for task in json.loads(done.stdout)["tasks"]] == ["1.1", "1.1"]


async def test_show_as_text_makes_control_codes_harmless(tmp_path: Path) -> None:
    (tmp_path / "plan.md").write_text(GOOD.replace("Write it", "Write \x1b[31mit\u202e"))
    done = await orchestrator("plan", "show", "plan.md", cwd=tmp_path)
    text = done.stdout.decode()
    assert done.exit_code == 0
    assert "\x1b" not in text and "\u202e" not in text
    assert "1.1   CODING  1 h 30 min" in text
    assert "   1. 1.1" in text


async def test_show_counts_the_configured_commands(tmp_path: Path) -> None:
    (tmp_path / "plan.md").write_text(GOOD)
    settings = "[verify]\ntask = ['make check', 'suite']\nmilestone = ['journey']\n"
    (tmp_path / "orchestrator.toml").write_text(settings)
    (tmp_path / ".git").mkdir()
    done = await orchestrator("plan", "show", "plan.md", cwd=tmp_path)
    text = done.stdout.decode()
    assert " 1 +1 configured " in text, done
    assert "End to end: 0 commands +1 configured" in text


@pytest.mark.parametrize(
    ("text", "options", "exit_code", "lines"),
    [
        (GOOD, [], 0, ["plan.md: 1 task, nothing to report"]),
        (WARNS, [], 0,
         ["plan.md:11: warning unknown-dependency task 1.1 depends on 9.9, which is not in this plan"]),
        (WARNS, ["--strict"], 2,
         ["plan.md:11: error unknown-dependency task 1.1 depends on 9.9, which is not in this plan"]),
        (FAILS, [], 2, ["plan.md:21: error duplicate-id task 1.1 is already on line 9"]),
    ],
    ids=["clean", "warning", "strict", "error"],
)  # fmt: skip
async def test_check(tmp_path: Path, text: str, options: list[str], exit_code: int, lines: list[str]) -> None:
    (tmp_path / "plan.md").write_text(text)
    done = await orchestrator("plan", "check", "plan.md", *options, cwd=tmp_path)
    printed = done.stdout.decode().splitlines()
    assert done.exit_code == exit_code
    assert [line for line in printed if line in lines] == lines
    assert all(line.startswith(("plan.md", "    ")) for line in printed)


async def test_check_continues_after_a_plan_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.md").write_bytes(b"\xff")
    (tmp_path / "good.md").write_text(GOOD)
    done = await orchestrator("plan", "check", "bad.md", "good.md", cwd=tmp_path)
    assert done.exit_code == 2
    assert done.stdout.decode() == "good.md: 1 task, nothing to report\n"
    assert b"bad.md:1: the plan is not UTF-8 text" in done.stderr


async def test_format_is_forced(tmp_path: Path) -> None:
    (tmp_path / "tasks.md").write_text("- [ ] 1. a\n")
    done = await orchestrator("plan", "show", "tasks.md", "--json", "--format", "checklist", cwd=tmp_path)
    assert json.loads(done.stdout)["format"] == "checklist"


@pytest.mark.parametrize("command", [["show"], ["show", "--json"], ["check"]], ids=["show", "json", "check"])
@pytest.mark.parametrize(
    "kind", ["missing", "folder", "fifo", "device", "file-as-folder", "large", "long-name", "loop"]
)
async def test_a_path_that_is_not_a_file_is_an_error_at_once(
    tmp_path: Path, kind: str, command: list[str]
) -> None:
    path = tmp_path / "plan.md"
    path.touch()
    if kind in ("missing", "folder", "fifo", "device", "loop"):
        path.unlink()
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "large":
            path.write_bytes(b"x" * 10_000_001)
        case "loop":
            path.symlink_to(path)
    name = {"long-name": "x" * 5000, "file-as-folder": "plan.md/x"}.get(kind, "plan.md")
    done = await orchestrator("plan", *command, name, cwd=tmp_path)
    assert (done.exit_code, done.stdout) == (2, b"")
    assert b"Traceback" not in done.stderr and b"bug" not in done.stderr
    assert 1 <= len(done.stderr.splitlines()) <= 10


async def test_new_writes_a_plan_whose_only_findings_are_the_placeholders(tmp_path: Path) -> None:
    made = await orchestrator("plan", "new", "Greeting Service", cwd=tmp_path)
    assert (made.exit_code, made.stdout) == (0, b"greeting-service.md\n")
    checked = await orchestrator("plan", "check", "greeting-service.md", cwd=tmp_path)
    codes = re.findall(r"^\S+: (\w+ \S+) ", checked.stdout.decode(), re.MULTILINE)
    assert (checked.exit_code, codes) == (0, ["warning placeholder"] * len(PLACEHOLDERS))
    path = tmp_path / "greeting-service.md"
    text = path.read_text()
    for number, placeholder in enumerate(PLACEHOLDERS):
        text = text.replace(placeholder, f"answer-{number}")
    path.write_text(text)
    checked = await orchestrator("plan", "check", "--strict", "greeting-service.md", cwd=tmp_path)
    assert (checked.exit_code, checked.stdout) == (0, b"greeting-service.md: 2 tasks, nothing to report\n")
    again = await orchestrator("plan", "new", "Greeting Service", cwd=tmp_path)
    assert again.exit_code == 2
    assert b"already exists" in again.stderr


@pytest.mark.parametrize(
    "title",
    ["挨拶", "../../etc/passwd", "-rf", "a\n## Task 9: x", "x" * 3000, "{name}", "...", "`a` **b**",
     "a\x1b[0m\u202e", "Task 1: x",
     "مرحبا", "a.lock", "---"],
)  # fmt: skip
async def test_new_takes_any_title(tmp_path: Path, title: str) -> None:
    made = await orchestrator("plan", "new", "--", title, cwd=tmp_path)
    (path,) = tmp_path.iterdir()
    assert made.exit_code == 0
    found = read_plan(path.read_bytes(), path=path.name)
    assert {each.code for each in found.diagnostics} == {"placeholder"}


@pytest.mark.parametrize(
    ("files", "commands"),
    [
        ({}, ["test -e path/to/file"]),
        ({"Cargo.toml": "[package]\n"}, ["test -e path/to/file", "cargo test"]),
        (
            {"Cargo.toml": "[package]\n", "orchestrator.toml": '[verify]\ntask = ["make check", "x"]\n'},
            ["test -e path/to/file", "make check", "x"],
        ),
        (
            {"Cargo.toml": "[package]\n", "orchestrator.toml": "[verif"},
            ["test -e path/to/file", "cargo test"],
        ),
    ],
    ids=["nothing found", "found", "configured", "an unreadable configuration"],
)
async def test_new_uses_the_test_commands_of_the_project(
    tmp_path: Path, files: dict[str, str], commands: list[str]
) -> None:
    (tmp_path / ".git").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    made = await orchestrator("plan", "new", "Greet", "--output", "-", cwd=tmp_path)
    plan = read_plan(made.stdout, path="greet.md")
    assert list(plan.tasks[0].verify) == commands
    works = commands[1:] or ["test -s path/to/file"]
    assert list(plan.tasks[1].verify) == works
    assert plan.end_to_end is not None and list(plan.end_to_end.commands) == works


async def test_new_to_stdout_and_to_a_file(tmp_path: Path) -> None:
    shown = await orchestrator("plan", "new", "Greet", "--output", "-", cwd=tmp_path)
    written = await orchestrator("plan", "new", "Greet", "-o", "sub.md", cwd=tmp_path)
    assert written.exit_code == 0
    assert (tmp_path / "sub.md").read_bytes() == shown.stdout
    nowhere = await orchestrator("plan", "new", "Greet", "-o", "no/such/folder.md", cwd=tmp_path)
    assert nowhere.exit_code == 2 and b"Traceback" not in nowhere.stderr


@pytest.mark.parametrize(
    "name",
    ["feature/x", "a", "milestone/greeting-service", "x.y", "ä/ö", "a-", "a_b", "@a", "a@", "a{b", "-rf",
     "a b", "a..b", "a.lock",
     ".a", "a/.b", "a//b", "/a", "a/", "a@{b", "a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b", "a.", "HEAD",
     "a/x.lock/b"],
)  # fmt: skip
async def test_branch_names_are_judged_as_git_does(tmp_path: Path, name: str) -> None:
    argv = ["git", "check-ref-format", "--branch", name]
    git = await run(argv, timeout=20, cwd=tmp_path, env=dict(os.environ))
    assert (branch_problem(name) is None) == (git.exit_code == 0)
