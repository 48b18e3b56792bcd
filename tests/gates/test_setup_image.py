"""The pure part of the setup image: its key, and what a candidate may not track."""

from typing import Any

import pytest

from orchestrator.gates.setup_image import (
    SetupImage,
    SetupPlan,
    describe_command,
    first_conflict,
    plan_setup,
)
from orchestrator.subprocesses import Identity

FILES = {"uv.lock": "aaa", "src/a.py": "bbb", "web/package-lock.json": "ccc"}


def planned(files: dict[str, str] = FILES, **changes: Any) -> SetupPlan | None:
    given: dict[str, Any] = {
        "commands": (),
        "discovering": True,
        "image": "sha256:1",
        "repository": "one",
        "owner": Identity(uid=1000, gid=1000),
        "env": {},
    }
    return plan_setup(files, **(given | changes))


def key(**changes: Any) -> str:
    found = planned(**changes)
    assert found is not None
    return found.key


def test_configured_commands_replace_discovered_ones() -> None:
    discovered, configured = planned(), planned(commands=("make deps",))
    assert discovered is not None and configured is not None
    assert (discovered.commands, discovered.found) == (("uv sync --frozen",), ("uv.lock",))
    assert (configured.commands, configured.found) == (("make deps",), ())


def test_a_project_without_lock_files_needs_no_setup() -> None:
    assert planned(discovering=False) is None
    assert planned({"src/a.py": "bbb"}) is None


def test_a_message_names_the_manager_and_its_file_and_joins_no_lines() -> None:
    found = planned({"pnpm-lock.yaml": "a", "web/package-lock.json": "b"}, folders=("web",))
    assert found is not None
    assert [describe_command(found, each) for each in found.commands] == [
        "pnpm (pnpm-lock.yaml)",
        "npm (web/package-lock.json)",
    ]
    written = ("make deps", "cd 'my web'\nnpm ci", "set -e\nmake a\nmake b")
    configured = planned(commands=written)
    assert configured is not None
    assert [describe_command(configured, each) for each in configured.commands] == [
        "make deps",
        "npm ci (in 'my web')",
        "set -e … (3 lines)",
    ]


CHANGES: dict[str, dict[str, Any]] = {
    "a lock file": {"files": FILES | {"uv.lock": "other"}},
    "a lock file further down": {"files": FILES | {"web/package-lock.json": "other"}},
    "folders": {"folders": ("web",)},
    "commands": {"commands": ("uv sync --frozen --all-groups",)},
    "image": {"image": "sha256:2"},
    "repository": {"repository": "another"},
    "a candidate's own": {"candidate": "c1"},
    "what an editable install brings": {"files": FILES | {"pyproject.toml": "other"}},
    "owner": {"owner": Identity(uid=1001, gid=1000)},
    "variables": {"env": {"A": "1"}},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_the_key_depends_on_everything_that_setup_reads(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


def test_the_key_does_not_depend_on_code() -> None:
    assert key(files=FILES | {"src/a.py": "other", "src/b.py": "new"}) == key()


MADE = SetupImage(id="sha256:1", produced=(".venv/", "src/gen/", "web/config.js"))


@pytest.mark.parametrize(
    ("path", "conflicts"),
    [
        (".venv/bin/pytest", True),
        (".venv", True),
        ("src/gen/x/y.py", True),
        ("src", True),
        ("web/config.js", True),
        ("web/config.js/deep", True),
        ("web", True),
        ("src/other.py", False),
        (".venvs/x", False),
        ("web/config.jsx", False),
        ("gen/x", False),
    ],
)
def test_a_tracked_path_that_setup_makes_is_a_conflict(path: str, conflicts: bool) -> None:
    assert first_conflict(["README.md", path], MADE) == (path if conflicts else None)
