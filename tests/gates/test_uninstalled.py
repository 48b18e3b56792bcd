"""Manifests that a run does not install from are announced; without a manifest nothing is."""

import pytest

from orchestrator.gates.detection import detect_project
from orchestrator.gates.manifests import Manifests
from orchestrator.gates.uninstalled import describe_uninstalled

PROJECT = '[project]\nname = "x"\ndependencies = ["rich"]\n'
POETRY = '[tool.poetry]\nname = "x"\n'
NODE = '{"dependencies": {"left-pad": "1"}}'


def notices(files: dict[str, str], folders: tuple[str, ...] = ()) -> tuple[str, ...]:
    by_folder: dict[str, dict[str, str]] = {"": {}}
    for path, text in files.items():
        folder, _, name = path.rpartition("/")
        by_folder.setdefault(folder, {})[name] = text
    found = {folder: Manifests(names=frozenset(texts), texts=texts) for folder, texts in by_folder.items()}
    return describe_uninstalled(detect_project(found.pop(""), found), files, folders)


NO_LOCK = "no lock file found: nothing will be installed. For setup.commands in orchestrator.toml:"


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"pyproject.toml": PROJECT}, "uv pip install"),
        ({"package.json": NODE}, "npm install"),
        ({"pyproject.toml": POETRY}, "poetry install"),
        ({"Gemfile": ""}, "bundle install"),
        ({"web/package.json": NODE}, "cd web\\nnpm install"),
        ({"api/pyproject.toml": PROJECT}, "cd api\\n"),
    ],
    ids=["pyproject", "package.json", "poetry", "bundler", "npm below the root", "pyproject below the root"],
)
def test_manifests_without_a_lock_file_are_announced_with_the_commands(
    files: dict[str, str], command: str
) -> None:
    first, *commands = notices(files)
    assert first == NO_LOCK
    assert any(command in each for each in commands)


@pytest.mark.parametrize(
    ("files", "lock"),
    [
        ({"pyproject.toml": POETRY, "poetry.lock": ""}, "poetry.lock"),
        ({"Pipfile": "", "Pipfile.lock": ""}, "Pipfile.lock"),
        ({"package.json": NODE, "bun.lock": ""}, "bun.lock"),
        ({"Gemfile": "", "Gemfile.lock": ""}, "Gemfile.lock"),
        ({"environment.yml": ""}, "environment.yml"),
        ({"api/poetry.lock": "", "api/pyproject.toml": POETRY}, "api/poetry.lock"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_lock_file_without_a_known_setup_is_named(files: dict[str, str], lock: str) -> None:
    first = notices(files)[0]
    assert first.startswith(f"{lock}: setup does not know this lock file, so nothing is installed from it")
    assert "setup.commands" in first


def test_lock_files_below_the_root_need_the_setting_that_names_their_folder() -> None:
    files = {"web/package.json": NODE, "web/package-lock.json": ""}
    assert [text.rpartition("set ")[2] for text in notices(files)] == ['setup.folders = ["web"]']
    assert notices(files, ("web",)) == ()


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"go.mod": "module x\nrequire y v1.0.0\n"}, "go mod tidy"),
        ({"Cargo.toml": '[dependencies]\nserde = "1"\n'}, "cargo generate-lockfile"),
    ],
    ids=["go", "cargo"],
)
def test_a_missing_lock_file_that_has_to_be_committed_is_announced(files: dict[str, str], word: str) -> None:
    (text,) = notices(files)
    assert "so nothing will be installed" in text and word in text


@pytest.mark.parametrize(
    "files",
    [
        {"README.md": ""},
        {"go.mod": "module x\n"},
        {"go.mod": "module x\nrequire y v1.0.0\n", "go.sum": ""},
        {"package.json": '{"name": "x"}'},
        {"Cargo.toml": '[package]\nname = "x"\n'},
        {"composer.json": '{"require": {"php": ">=8"}}'},
        {"package.json": NODE, "package-lock.json": ""},
    ],
    ids=str,
)
def test_nothing_is_said_where_there_is_nothing_to_install(files: dict[str, str]) -> None:
    assert notices(files) == ()


def test_a_lock_file_of_a_sample_is_not_the_projects() -> None:
    project = detect_project(Manifests(names=frozenset({"tests"})), {})
    assert describe_uninstalled(project, ["tests/data/poetry.lock"], ()) == ()
