"""Commands and settings that `init` finds in a project's manifests."""

import json
from dataclasses import dataclass, field

import pytest

from orchestrator.gates.detection import DetectedProject, detect_project
from orchestrator.gates.manifests import Manifests
from orchestrator.programs import packages_of_program

Files = dict[str, str]


def detect(files: Files) -> DetectedProject:
    """A project of these files; a folder below the root is one that has a manifest."""
    folders: dict[str, Files] = {}
    for path, content in files.items():
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, {})[name] = content
    root = folders.pop("", {})
    below = {
        folder: Manifests(names=frozenset(inner), texts=inner) for folder, inner in sorted(folders.items())
    }
    return detect_project(Manifests(names=frozenset(root), texts=root), below)


def package(**more: object) -> str:
    return json.dumps({"name": "shapes", **more})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    files: Files
    test: str | None
    setup: str | None = None
    """A part of the commands; None where lock files are enough."""
    lacks: str = "\0"
    packages: list[str] = field(default_factory=list)


VENV = ".venv/bin/python -m pytest -q"
WITH_TEST = package(scripts={"test": "node --test"}, devDependencies={"a": "1"})
PROJECT = '[project]\nname = "shapes"\n'
IN_EXTRA = f'{PROJECT}[project.optional-dependencies]\ndoc = ["sphinx"]\ntest = ["pytest-cov", "ruff"]\n'
IN_GROUP = (
    f'{PROJECT}[dependency-groups]\nold = ["a"]\ntests = ["b", {{include-group = "c"}}]\nc = ["pytest>=8"]\n'
)
IN_DEV = f'{PROJECT}[dependency-groups]\ndev = ["pytest"]\n'
POETRY = '[tool.poetry]\nname = "my-shapes"\n[tool.poetry.group.dev.dependencies]\npytest = "*"\n'
OPTIONAL = f"{POETRY}[tool.poetry.group.dev]\noptional = true\n"

CASES = {
    "uv": Case(files={"uv.lock": "", "pyproject.toml": IN_DEV}, test="uv run pytest -q"),
    "uv, in a group that is not installed": Case(
        files={"uv.lock": "", "pyproject.toml": IN_GROUP},
        test="uv run --no-sync pytest -q",
        setup="uv sync --frozen --group tests",
    ),
    "uv, in an extra": Case(
        files={"uv.lock": "", "pyproject.toml": IN_EXTRA},
        test="uv run --no-sync pytest -q",
        setup="uv sync --frozen --extra test",
    ),
    "uv, in a group that is a default": Case(
        files={
            "uv.lock": "",
            "pyproject.toml": f'{IN_GROUP}[tool.uv]\ndefault-groups = ["tests", "c"]\n',
        },
        test="uv run pytest -q",
    ),
    "uv, declared nowhere": Case(
        files={"uv.lock": "", "pyproject.toml": PROJECT, "tests": ""},
        test="uv run --no-sync pytest -q",
        setup="uv pip install --python .venv pytest",
    ),
    "pip": Case(files={"requirements.txt": "pytest\n", "app.py": ""}, test=VENV),
    "pip, for development in a file of its own": Case(
        files={"requirements.txt": "six\n", "requirements-dev.txt": "pytest==8\n"},
        test=VENV,
        setup="-r requirements.txt -r requirements-dev.txt",
        lacks="-e .",
    ),
    "pip without a test": Case(files={"requirements.txt": "six\n"}, test=None),
    "setup.py": Case(
        files={"setup.py": "", "tests": "", "tox.ini": "deps = pytest"}, test=VENV, setup="-e . pytest"
    ),
    "pyproject, extra": Case(files={"pyproject.toml": IN_EXTRA}, test=VENV, setup="-e '.[test]'"),
    "pyproject, group": Case(files={"pyproject.toml": IN_GROUP}, test=VENV, setup="-e . --group tests"),
    "pyproject, dev group": Case(files={"pyproject.toml": IN_DEV}, test=VENV, setup="-e . --group dev"),
    "pyproject without a test": Case(files={"pyproject.toml": PROJECT}, test=None, setup="-e ."),
    "a broken pyproject": Case(files={"pyproject.toml": "[project", "tests": ""}, test=VENV, setup="pytest"),
    "poetry": Case(
        files={"poetry.lock": "", "pyproject.toml": POETRY, "my_shapes": ""},
        test=VENV,
        setup="poetry install --no-interaction",
        lacks="--no-root",
    ),
    "poetry, optional group, no package": Case(
        files={"poetry.lock": "", "pyproject.toml": OPTIONAL},
        test=VENV,
        setup="poetry install --no-interaction --with dev --no-root",
    ),
    "pdm": Case(
        files={"pdm.lock": "", "pyproject.toml": IN_DEV}, test=VENV, setup="pdm install --frozen-lockfile"
    ),
    "pipenv": Case(
        files={"Pipfile": "[dev-packages]\npytest = '*'\n", "Pipfile.lock": ""},
        test=VENV,
        setup="pipenv sync --dev",
    ),
    "npm": Case(files={"package.json": WITH_TEST, "package-lock.json": ""}, test="npm test"),
    "npm without a lock file": Case(
        files={"package.json": WITH_TEST}, test="npm test", setup="npm install --no-package-lock"
    ),
    "npm without dependencies": Case(
        files={"package.json": package(scripts={"test": "node --test"})}, test="npm test"
    ),
    "npm without a test": Case(
        files={"package.json": package(scripts={"test": 'echo "Error: no test specified" && exit 1'})},
        test=None,
    ),
    "pnpm": Case(files={"package.json": WITH_TEST, "pnpm-lock.yaml": ""}, test="pnpm test"),
    "pnpm without a lock file": Case(
        files={"package.json": WITH_TEST[:-1] + ', "packageManager": "pnpm@9.1.0"}'},
        test="pnpm test",
        setup="pnpm install --no-lockfile",
    ),
    "yarn": Case(files={"package.json": WITH_TEST, "yarn.lock": ""}, test="yarn test"),
    "bun": Case(
        files={"package.json": WITH_TEST, "bun.lock": ""},
        test="bun run test",
        setup="bun install --frozen-lockfile",
    ),
    "rust": Case(files={"Cargo.toml": "", "Cargo.lock": ""}, test="cargo test", packages=["cargo"]),
    "rust with openssl": Case(
        files={"Cargo.toml": "", "Cargo.lock": 'name = "openssl-sys"\n'},
        test="cargo test",
        packages=["cargo", "pkg-config", "libssl-dev"],
    ),
    "go": Case(
        files={"go.mod": "module x\n\ngo 1.19\n", "go.sum": ""},
        test="go test ./...",
        packages=["golang-go", "gcc", "libc6-dev"],
    ),
    "php": Case(
        files={"composer.json": json.dumps({"require-dev": {"phpunit/phpunit": "10"}})},
        test="vendor/bin/phpunit",
        setup="composer install",
        packages=["composer", "php-cli", "php-curl", "php-mbstring", "php-xml", "unzip"],
    ),
    "ruby": Case(
        files={"Gemfile": "", "Gemfile.lock": "", "spec": ""},
        test="bundle exec rspec",
        setup="BUNDLE_FROZEN=true bundle install",
        packages=["bundler", "ruby-dev", "build-essential"],
    ),
    "maven": Case(
        files={"pom.xml": ""},
        test="mvn --batch-mode --quiet test",
        setup="dependency:go-offline",
        packages=["maven", "default-jdk-headless"],
    ),
    "gradle": Case(
        files={"build.gradle": "", "gradlew": ""},
        test="./gradlew --no-daemon test",
        setup="./gradlew --no-daemon dependencies",
        packages=["default-jdk-headless"],
    ),
    "make": Case(files={"Makefile": "TEST := x\nall:\n\ncheck: all\n\ttrue\n"}, test="make check"),
    "make without a test": Case(files={"Makefile": "all:\n\ttrue\n"}, test=None),
    "nothing": Case(files={"README.md": ""}, test=None),
    "python with a package.json for a formatter": Case(
        files={"pyproject.toml": IN_DEV, "uv.lock": "", "package.json": WITH_TEST, "package-lock.json": ""},
        test="uv run pytest -q",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_test_command_setup_and_packages(case: Case) -> None:
    found = detect(case.files)
    assert found.tests == (() if case.test is None else (case.test,))
    commands = "\n".join(found.setup)
    assert bool(commands) == (case.setup is not None), commands
    assert (case.setup or "") in commands and case.lacks not in commands
    assert list(found.packages) == case.packages


def test_lock_files_below_the_root_are_found_by_their_folders() -> None:
    files = {
        "api/uv.lock": "",
        "api/pyproject.toml": IN_DEV,
        "my web/package.json": WITH_TEST,
        "my web/package-lock.json": "",
    }
    found = detect(files)
    assert found.folders == ("api", "my web") and found.setup == ()
    assert found.tests == ("cd api && uv run pytest -q", "cd 'my web' && npm test")
    assert found.lock_files == ("api/uv.lock (uv)", "my web/package-lock.json (npm)")


def test_as_soon_as_one_part_needs_a_command_all_are_listed() -> None:
    files = {
        "requirements.txt": "pytest\n",
        "setup.py": "",
        "go.mod": "",
        "go.sum": "",
        "web/package.json": WITH_TEST,
        "web/package-lock.json": "",
    }
    found = detect(files)
    assert found.folders == ()
    assert found.setup == (
        "go mod download",
        "cd web\nnpm ci --no-fund --no-audit",
        "uv venv --seed .venv\nuv pip install --python .venv -r requirements.txt -e .",
    )
    assert found.tests == (VENV,)


def test_members_of_a_workspace_are_not_parts_of_their_own() -> None:
    files = {
        "package.json": package(workspaces=["packages/*"]),
        "package-lock.json": "",
        "packages/a/package.json": WITH_TEST,
    }
    found = detect(files)
    assert (found.tests, found.setup, found.folders) == ((), (), ())


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("go.mod", "module x\n\ngo 1.22.1\n", "go.mod asks for Go 1.22.1"),
        ("Cargo.toml", '[package]\nrust-version = "1.70"\n', "Cargo.toml asks for Rust 1.70"),
    ],
)
def test_a_toolchain_that_debian_does_not_have_is_said(file: str, content: str, words: str) -> None:
    (note,) = detect({file: content}).notes
    assert note.startswith(words) and "image.dockerfile" in note


@pytest.mark.parametrize(
    ("program", "packages"),
    [("go", ("golang-go", "gcc", "libc6-dev")), ("dot", ("graphviz",)), ("tree", ("tree",)), ("my-own", ())],
)
def test_packages_of_a_program(program: str, packages: tuple[str, ...]) -> None:
    assert packages_of_program(program) == packages
