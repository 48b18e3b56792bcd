"""`init`: what it finds, and that what it writes is a configuration."""

import tomllib
from pathlib import Path

import pytest
from e2e_kit import Scene

from orchestrator.commands.init import detect_project, render_configuration, secrets_below
from orchestrator.config import load_settings

SHAPES = {
    "nothing": ((), None),
    "uv": (("pyproject.toml", "uv.lock"), "uv run pytest -q"),
    "pip": (("setup.py", "requirements.txt"), ".venv/bin/python -m pytest -q"),
    "python without a lock file": (("pyproject.toml",), "python3 -m pytest -q"),
    "npm": (("package.json", "package-lock.json"), "npm test"),
    "pnpm": (("package.json", "pnpm-lock.yaml"), "pnpm test"),
    "yarn": (("package.json", "yarn.lock"), "yarn test"),
    "rust": (("Cargo.toml", "Cargo.lock"), "cargo test"),
    "go": (("go.mod", "go.sum"), "go test ./..."),
    "make": (("Makefile",), "make test"),
    "secrets": ((".env", ".npmrc"), None),
}


def uncommented(text: str) -> str:
    """The file with every setting in force, and only the words left as comments."""
    lines = [line.removeprefix("# ") if " = " in line else line for line in text.splitlines()]
    return "\n".join(lines)


@pytest.mark.parametrize(("names", "command"), SHAPES.values(), ids=SHAPES)
def test_what_is_written_can_be_read(names: tuple[str, ...], command: str | None) -> None:
    found = detect_project(names)
    assert found.test == command
    text = render_configuration(found)
    for version in (text, uncommented(text)):
        load_settings(None, environ={"HOME": "/nowhere"}, repository_file=version.encode())
    if command is not None:
        assert tomllib.loads(uncommented(text))["verify"]["task"] == [command]


@pytest.mark.parametrize(
    ("names", "texts", "command"),
    [
        (("package.json",), {"package.json": '{"name": "x"}'}, None),
        (("package.json",), {"package.json": '{"scripts": {"test": "node --test"}}'}, "npm test"),
        (("pyproject.toml",), {"pyproject.toml": "[project]\n"}, None),
        (("pyproject.toml", "Makefile"), {"pyproject.toml": "[project]\n"}, "make test"),
        (("pyproject.toml", "uv.lock"), {"pyproject.toml": 'dev = ["pytest"]\n'}, "uv run pytest -q"),
    ],
)
def test_no_test_command_that_cannot_work(
    names: tuple[str, ...], texts: dict[str, str], command: str | None
) -> None:
    assert detect_project(names, texts).test == command


def test_secrets_are_hidden_and_everything_else_is_a_comment() -> None:
    assert tomllib.loads(render_configuration(detect_project((".env", "uv.lock")))) == {
        "verify": {}, "setup": {}, "image": {}, "masked": {"files": [".env"]}, "limits": {},
    }  # fmt: skip


def test_secrets_are_found_in_subfolders_but_not_in_dependencies(tmp_path: Path) -> None:
    shown = ["api/.env.example", "tests/server.key", "node_modules/x/.env", "a/b/c/d/e/.env"]
    for path in ["api/.env", "infra/prod/main.tfvars", ".env", *shown]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "linked").symlink_to(tmp_path / "api")
    assert secrets_below(tmp_path) == ("api/.env", "infra/prod/main.tfvars")
    assert detect_project((".env",), below=secrets_below(tmp_path)).secrets == (
        ".env",
        "api/.env",
        "infra/prod/main.tfvars",
    )


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
    assert set(detect_project(hidden | shown).secrets) == hidden
    text = render_configuration(detect_project(hidden | shown))
    loaded = load_settings(None, environ={"HOME": "/nowhere"}, repository_file=text.encode())
    assert set(loaded.settings.masked.files) == hidden


def test_a_name_that_toml_cannot_hold_verbatim() -> None:
    name = ".env.\"odd'ü\\"
    text = render_configuration(detect_project({name}))
    assert tomllib.loads(text)["masked"]["files"] == [name]


def test_the_command_writes_once(scene: Scene) -> None:
    scene.commit(**{"Cargo.toml": "[package]\n"})
    done = scene.orchestrator("init")
    assert done.exit_code == 0, done
    assert "Rust" in done.out
    written = (scene.folder / "orchestrator.toml").read_bytes()
    again = scene.orchestrator("init")
    assert again.exit_code == 2
    assert "already exists" in again.err
    assert (scene.folder / "orchestrator.toml").read_bytes() == written
    assert set(scene.owners().values()) == {scene.owner}


def test_a_link_is_not_followed(scene: Scene, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.toml"
    (scene.folder / "orchestrator.toml").symlink_to(target)
    done = scene.orchestrator("init")
    assert done.exit_code == 2
    assert not target.exists()
