"""`init`: what it writes is a configuration in force, what it asks, and what it leaves alone."""

import dataclasses
import tomllib
from pathlib import Path

import pytest
from at_terminal_kit import at_terminal
from e2e_kit import Scene

from orchestrator.commands.init import (
    Proposal,
    render_configuration,
    secrets_at_root,
    secrets_below,
)
from orchestrator.config import LoadedSettings, load_settings
from orchestrator.project.manifest_files import find_project

PYPROJECT = '[project]\nname = "x"\n[dependency-groups]\ntests = ["pytest"]\n'
SHAPES: dict[str, dict[str, str]] = {
    "nothing": {},
    "uv": {"pyproject.toml": '[dependency-groups]\ndev = ["pytest"]\n', "uv.lock": ""},
    "python without a lock file": {"pyproject.toml": PYPROJECT, "tests/test_x.py": ""},
    "poetry": {"pyproject.toml": '[tool.poetry]\nname = "x"\n', "poetry.lock": "", "tests/test_x.py": ""},
    "rust": {"Cargo.toml": "", "Cargo.lock": ""},
    "monorepo": {"web/package.json": '{"scripts": {"test": "x"}}', "web/package-lock.json": ""},
    "secrets": {".env": "", "api/.env": "", "odd'\\/.env.\"ü": ""},
}


def propose(folder: Path) -> Proposal:
    """The settings that `init` would write for a folder without git."""
    project = find_project(folder)
    return Proposal(
        path=folder / "orchestrator.toml",
        project=project,
        tests=project.tests,
        packages=project.packages,
        secrets=(*secrets_at_root(path.name for path in folder.iterdir()), *secrets_below(folder)),
    )


def load(text: str) -> LoadedSettings:
    return load_settings(None, environ={"HOME": "/nowhere"}, repository_file=text.encode())


def uncommented(text: str) -> str:
    """The file with every setting in force, and only the words left as comments."""
    lines = [
        line.removeprefix("# ") if line.startswith("# ") and " = " in line else line
        for line in text.splitlines()
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("files", SHAPES.values(), ids=SHAPES)
def test_what_is_found_is_in_force_and_the_rest_can_be_uncommented(
    tmp_path: Path, files: dict[str, str]
) -> None:
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    proposal = propose(tmp_path)
    text = render_configuration(proposal)
    load(uncommented(text))
    settings = load(text).settings
    assert settings.verify.task == proposal.project.tests
    assert settings.setup.folders == proposal.project.folders
    assert [command.strip() for command in settings.setup.commands] == list(proposal.project.setup)
    assert settings.image.packages == proposal.project.packages
    assert settings.masked.files == proposal.secrets


@pytest.mark.parametrize("wanted", [True, False, None])
def test_the_handoff_document_can_be_asked_for_or_refused(tmp_path: Path, wanted: bool | None) -> None:
    text = render_configuration(dataclasses.replace(propose(tmp_path), commits_handoff=wanted))
    assert load(text).settings.handoff.commit is (wanted is not False)
    assert tomllib.loads(text).get("handoff") == ({} if wanted is None else {"commit": wanted})


@pytest.mark.parametrize(
    ("name", "shown"), [("poetry.lock", "poetry.lock (by setup.commands)"), ("uv.lock", "uv.lock (uv)")]
)
def test_every_lock_file_is_named(tmp_path: Path, name: str, shown: str) -> None:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / name).touch()
    assert f"lock files: {shown}." in render_configuration(propose(tmp_path))


def test_secrets_are_found_in_subfolders_but_not_in_dependencies(tmp_path: Path) -> None:
    shown = ["api/.env.example", "tests/server.key", "node_modules/x/.env", "a/b/c/d/e/.env"]
    for path in ["api/.env", "infra/prod/main.tfvars", ".env", *shown]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "linked").symlink_to(tmp_path / "api")
    assert secrets_below(tmp_path) == ("api/.env", "infra/prod/main.tfvars")


def test_which_files_are_hidden() -> None:
    hidden = {
        ".env",
        ".env.production",
        "server.key",
        "secrets.yaml",
        "id_rsa",
        "Cert.PEM",
        ".npmrc",
        "prod.env",
    }
    shown = {
        ".env.example",
        ".env.sample",
        "id_rsa.pub",
        "README.md",
        ".environment",
        "keyboard.py",
        "secrets.py",
    }
    assert set(secrets_at_root(hidden | shown)) == hidden


def test_parts_are_not_looked_for_in_tests_samples_and_dependencies(tmp_path: Path) -> None:
    for path in ("tests/a", "examples/b", "node_modules/c", ".hidden", "one/two/three"):
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "package.json").write_text('{"scripts": {"test": "x"}}')
    (tmp_path / "linked").symlink_to(tmp_path / "tests")
    assert find_project(tmp_path).tests == ()


def test_the_command_writes_once(scene: Scene) -> None:
    scene.commit(**{"Cargo.toml": "[package]\n"})
    done = scene.orchestrator("init")
    assert done.exit_code == 0, done
    assert done.out.splitlines()[:3] == [
        "Found:     Rust",
        "Tests:     cargo test",
        "Packages:  cargo",
    ]
    assert done.out.splitlines()[-4:] == [
        "Next:",
        "  orchestrator trust",
        "  orchestrator plan new 'TITLE' --output plan.md",
        "  orchestrator run plan.md",
    ]
    written = (scene.folder / "orchestrator.toml").read_bytes()
    again = scene.orchestrator("init")
    assert again.exit_code == 2
    assert "already exists" in again.err
    assert (scene.folder / "orchestrator.toml").read_bytes() == written
    assert set(scene.owners().values()) == {scene.owner}


def test_a_tracked_secret_stays_visible_and_an_untracked_one_is_hidden(scene: Scene) -> None:
    scene.commit(**{"server.pem": "a test's", ".gitignore": ".env\n"})
    scene.write(".env", "KEY=1\n")
    done = scene.orchestrator("init")
    assert "Hidden:    .env\n" in done.out
    assert "Visible:   server.pem (tracked by git)\n" in done.out
    written = tomllib.loads((scene.folder / "orchestrator.toml").read_text())
    assert written["masked"] == {"files": [".env"]}


@pytest.mark.parametrize(
    ("typed", "tests", "packages", "files"),
    [
        (("\n", "\n", "\n"), ["cargo test"], ["cargo"], [".env"]),
        (
            ("cargo test  --locked\n", "-\n", ".env server.pem\n"),
            ["cargo test  --locked"],
            None,
            [".env", "server.pem"],
        ),
    ],
    ids=["as found", "changed"],
)
def test_at_a_terminal_it_asks_three_questions(
    scene: Scene, typed: tuple[str, str, str], tests: list[str], packages: list[str] | None, files: list[str]
) -> None:
    scene.commit(**{"server.pem": "a test's", "Cargo.toml": "[package]\n"})
    scene.write(".env", "KEY=1\n")
    questions = ("Test command [", "Debian packages to add to the image [", "Files to hide from the agent [")
    done = at_terminal(scene, "init", typed=dict(zip(questions, typed, strict=True)))
    assert done.exit_code == 0, done
    written = tomllib.loads((scene.folder / "orchestrator.toml").read_text())
    assert written["verify"]["task"] == tests
    assert written["image"].get("packages") == packages
    assert written["masked"]["files"] == files


def test_yes_asks_nothing_at_a_terminal(scene: Scene) -> None:
    scene.commit(**{"Cargo.toml": "[package]\n"})
    done = at_terminal(scene, "init", "--yes", "--no-handoff", typed={})
    assert done.exit_code == 0, done
    assert "Test command" not in done.out
    written = tomllib.loads((scene.folder / "orchestrator.toml").read_text())
    assert written["handoff"] == {"commit": False}


def test_a_link_is_not_followed(scene: Scene, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.toml"
    (scene.folder / "orchestrator.toml").symlink_to(target)
    done = scene.orchestrator("init")
    assert done.exit_code == 2
    assert not target.exists()
