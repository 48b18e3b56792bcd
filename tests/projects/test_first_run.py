"""The first run of a project as a new user has it: from `init`, by the commands that it prints, to its end.

`make test` has three kinds of projects, `make projects` (PROJECTS=all) has all of them.
"""

import json
import os
import re
import shlex
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from e2e_kit import AGENT, Done, MakeScene, Scene
from project_kit import AGENT_HEAD, lock, owner

from orchestrator.plan.skeleton import FILE, PLACEHOLDERS

pytestmark = pytest.mark.docker

MOST_COMMANDS = 5
IGNORED = ".venv/\nnode_modules/\n__pycache__/\n*.egg-info/\n.pytest_cache/\ntarget/\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    files: dict[str, str]
    tests: list[str]
    """The commands that `init` finds; the agent runs them, too."""
    lock: str | None = None
    """Makes the lock files, which hold addresses."""
    refusal: tuple[str, ...] = ()
    """Parts of the error with which the run refuses to start; empty if the run completes."""
    settings: dict[str, list[str]] = field(default_factory=dict)
    """The settings that `init` writes in addition to the test command."""


def python(body: str, *, more: str) -> dict[str, str]:
    return {
        "pyproject.toml": '[project]\nname = "shapes"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
        f'dependencies = ["idna"]\n\n{more}\n\n'
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n',
        "src/shapes/__init__.py": f"import idna\n\n\ndef area(a, b):\n    return {body}\n",
        "tests/test_area.py": "from shapes import area\n\n\ndef test_area():\n    assert area(2, 3) == 6\n",
    }


def node(manager: str | None = None, script: str = "node --test") -> dict[str, str]:
    package = {"name": "shapes", "version": "1.0.0", "private": True, "scripts": {"test": script}}
    named = {} if manager is None else {"packageManager": manager}
    return {
        "package.json": json.dumps({**package, **named, "dependencies": {"ms": "2.1.3"}}),
        "area.test.js": 'const { equal } = require("node:assert");\n'
        'require("node:test")("two", () => equal(require("ms")("2s"), 2000));\n',
    }


def below(folder: str, files: dict[str, str]) -> dict[str, str]:
    return {f"{folder}/{path}": content for path, content in files.items()}


DEV_GROUP = '[dependency-groups]\ndev = ["pytest"]'
VENV = ".venv/bin/python -m pytest -q"
UV_LOCK = "uv lock --quiet"
NPM_LOCK = "npm install --package-lock-only --silent --no-fund --no-audit"
# Poetry asks an index for more than other programs do, and some mirrors do not have it. So nothing is locked,
# and pytest is declared nowhere: `init` finds by the tests that it is needed.
POETRY = """\
[project]
name = "shapes"
version = "0.1.0"
requires-python = ">=3.11,<4.0"

[tool.poetry]
packages = [{ include = "shapes", from = "src" }]

[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"
"""
# Its test is built with cgo, because it imports net.
GO_TEST = """\
package shapes

import (
\t"net"
\t"testing"
)

func TestPort(t *testing.T) {
\tif net.JoinHostPort("a", "1") != "a:1" {
\t\tt.Fatal("wrong")
\t}
}
"""
PROJECTS = {
    "uv": Project(files=python("a * b", more=DEV_GROUP), lock=UV_LOCK, tests=["uv run pytest -q"]),
    "npm": Project(files=node(), lock=NPM_LOCK, tests=["npm test"]),
    "red base": Project(
        files=python("a + b", more=DEV_GROUP),
        lock=UV_LOCK,
        tests=["uv run pytest -q"],
        refusal=("uv run pytest -q", "verify.base=no_worse"),
    ),
    "pip without a lock file": Project(
        files=python("a * b", more='[project.optional-dependencies]\ntest = ["pytest"]'),
        tests=[VENV],
        settings={"setup.commands": ["uv venv --seed .venv\nuv pip install --python .venv -e '.[test]'"]},
    ),
    "poetry": Project(
        files={
            **python("a * b", more=""),
            "pyproject.toml": POETRY,
            "src/shapes/__init__.py": "def area(a, b):\n    return a * b\n",
        },
        lock="python3 -m venv /tmp/p && /tmp/p/bin/pip install -q poetry && /tmp/p/bin/poetry lock -q",
        tests=[VENV],
    ),
    "pnpm": Project(
        files=node("pnpm@9.15.9"),
        lock="npx -y pnpm@9.15.9 install --lockfile-only",
        tests=["pnpm test"],
    ),
    "go without a compiler": Project(
        files={
            "go.mod": "module example.org/shapes\n\ngo 1.19\n",
            "shapes.go": "package shapes\n",
            "shapes_test.go": GO_TEST,
        },
        tests=["go test ./..."],
        settings={"image.packages": ["golang-go", "gcc", "libc6-dev"]},
    ),
    "rust": Project(
        files={
            "Cargo.toml": '[package]\nname = "shapes"\nversion = "0.1.0"\nedition = "2021"\n',
            "Cargo.lock": 'version = 3\n\n[[package]]\nname = "shapes"\nversion = "0.1.0"\n',
            "src/lib.rs": "#[test]\nfn works() {\n    assert_eq!(2 * 3, 6);\n}\n",
        },
        tests=["cargo test"],
        settings={"image.packages": ["cargo"]},
    ),
    "monorepo": Project(
        files={**below("api", python("a * b", more=DEV_GROUP)), **below("web", node())},
        lock=f"(cd api && {UV_LOCK}) && (cd web && {NPM_LOCK})",
        tests=["cd api && uv run pytest -q", "cd web && npm test"],
        settings={"setup.folders": ["api", "web"]},
    ),
    "a program that the image lacks": Project(
        files=node(script="dot -V && node --test"),
        lock=NPM_LOCK,
        tests=["npm test"],
        refusal=("npm test", "the program dot", 'Add "graphviz" to image.packages'),
    ),
}
IN_EVERY_SUITE = ("uv", "npm", "red base")
SELECTED = PROJECTS if os.environ.get("PROJECTS") == "all" else IN_EVERY_SUITE


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Types commands in a project, and counts them."""

    scene: Scene
    typed: list[str] = field(default_factory=list)

    def type(self, command: str, *more: str) -> Done:
        """`more` are options of the test's own: its agent, and output that it can read."""
        self.typed.append(command)
        program, *words = shlex.split(command)
        assert program == "orchestrator"
        return self.scene.orchestrator(*words, *more)

    def fill_in_plan(self) -> None:
        text = (self.scene.folder / "plan.md").read_text()
        for placeholder in PLACEHOLDERS:
            text = text.replace(placeholder, "NOTES.md" if placeholder == FILE else "Notes are there")
        self.scene.write("plan.md", text)


@pytest.fixture
def user(new_scene: MakeScene) -> User:
    return User(scene=new_scene(owner=owner()))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SELECTED)
def test_from_init_to_the_end_of_the_first_run(name: str, user: User) -> None:
    project = PROJECTS[name]
    make_repository(user.scene, project)
    started = user.type("orchestrator init")
    assert started.exit_code == 0, started
    refused = None
    for command in re.findall(r"^  (orchestrator .*)$", started.out, re.MULTILINE):
        done = user.type(command.replace("TITLE", "Notes"), *options_of(command))
        if " plan new " in command:
            user.fill_in_plan()
        refused = done if done.exit_code != 0 else None
        if refused is None and command.startswith("orchestrator run "):
            assert_completed(user.scene, project, done)
            print(f"\n{name}: {describe_start(done)}; commands typed: {len(user.typed)}")
    check_settings(user.scene, project)
    assert len(user.typed) <= MOST_COMMANDS
    if project.refusal:
        assert refused is not None and refused.exit_code == 2
        assert refused.stdout == b"", "nothing is printed before the base has passed"
        assert not [word for word in project.refusal if word not in refused.err], refused.err
        assert user.scene.git("branch", "--list", "milestone/*") == ""
    else:
        assert refused is None, refused


def make_repository(scene: Scene, project: Project) -> None:
    # The agent sees what setup made: it can run the tests itself.
    agent = f"{AGENT_HEAD}{chr(10).join(f'({command})' for command in project.tests)}\necho ok > NOTES.md\n"
    for path, content in {**project.files, ".gitignore": IGNORED, "agent.sh": agent}.items():
        scene.write(path, content)
    scene.write("agent.sh", agent + "report completed\n")
    if project.lock is not None:
        lock(scene, project.lock)
    scene.commit()


def options_of(command: str) -> tuple[str, ...]:
    match command.split()[1]:
        case "trust":
            return ("--yes",)
        case "doctor":
            return AGENT
        case "run":
            return (*AGENT, "--json")
        case _:
            return ()


def assert_completed(scene: Scene, project: Project, done: Done) -> None:
    assert done.end["status"] == "completed", done
    assert {event["status"] for event in done.of("attempt_ended")} == {"completed"}
    assert {event["verdict"] for event in done.of("gate_ended")} == {"pass"}
    run_by_gates = {event["command"].strip() for event in done.of("gate_ended")}
    assert set(project.tests) <= run_by_gates
    assert scene.git("show", "milestone/notes:NOTES.md") == "ok"


def check_settings(scene: Scene, project: Project) -> None:
    rows = json.loads(scene.orchestrator("doctor", "--json", "--check", "trust").stdout)["settings"]
    settings = {row["key"]: row["value"] for row in rows}
    assert settings["verify.task"] == project.tests
    for key, value in project.settings.items():
        assert [each.strip() for each in settings[key]] == value


def describe_start(done: Done) -> str:
    """How long a user waits for the first attempt, and for what."""
    begun, first = (
        datetime.fromisoformat(done.of(kind)[0]["at"]) for kind in ("run_started", "attempt_started")
    )
    setup = sum(event["seconds"] for event in done.of("setup_ended"))
    base = done.of("base_checked")
    checks = sum(event.get("seconds") or 0 for event in base)
    return (
        f"{(first - begun).total_seconds():.1f} s to the first attempt (setup {setup:.1f} s, "
        f"{len(base)} commands on the base {checks:.1f} s)"
    )
