"""Setup commands that a project's lock files call for."""

import pytest

from orchestrator.gates.discovery import discover, is_lock_file, is_read_by

FOUND = {
    "uv": (["uv.lock", "pyproject.toml", "requirements.txt"], ["uv"]),
    "pip": (["requirements.txt", "setup.py"], ["pip"]),
    "npm": (["package.json", "package-lock.json"], ["npm"]),
    "pnpm": (["package.json", "pnpm-lock.yaml"], ["pnpm"]),
    "yarn": (["package.json", "yarn.lock"], ["yarn"]),
    "cargo": (["Cargo.toml", "Cargo.lock"], ["cargo"]),
    "go": (["go.mod", "go.sum"], ["go"]),
    "two languages": (["uv.lock", "package-lock.json"], ["uv", "npm"]),
    "go without dependencies": (["go.mod"], []),
    "not at the root": (["web/package-lock.json", "vendor/uv.lock"], []),
    "none": (["README.md"], []),
}


@pytest.mark.parametrize(("files", "names"), FOUND.values(), ids=FOUND)
def test_package_managers_are_discovered_by_lock_files(files: list[str], names: list[str]) -> None:
    assert [manager.name for manager in discover(files)] == names


def test_lock_files_in_configured_folders_are_found_and_their_commands_run_there() -> None:
    files = ["uv.lock", "web/package-lock.json", "my api/requirements.txt", "other/go.sum"]
    found = discover(files, ["web/", "./my api", "web"])
    assert [manager.lock for manager in found] == [
        "uv.lock",
        "web/package-lock.json",
        "my api/requirements.txt",
    ]
    assert found[0].command == "uv sync --frozen"
    assert found[1].command == "cd web\nnpm ci --no-fund --no-audit"
    assert found[2].command.startswith("cd 'my api'\npython3 ")


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("uv.lock", True),
        ("web/package-lock.json", True),
        ("requirements-dev.txt", True),
        ("go.sum", True),
        ("requirements/base.txt", True),
        ("backend/requirements/dev.in", True),
        (".yarnrc.yml", True),
        ("docs/notes.txt", False),
        ("package.json", False),
        ("uv.lock.md", False),
        ("requirements.txt/README", False),
    ],
)
def test_is_lock_file(path: str, is_one: bool) -> None:
    assert is_lock_file(path) is is_one


@pytest.mark.parametrize(
    ("path", "is_read"),
    [("deps.txt", True), ("ci/setup.sh", True), ("pyproject.toml", True), ("src/deps.py", False)],
)
def test_is_read_by(path: str, is_read: bool) -> None:
    assert is_read_by(path, ["pip install -r deps.txt && bash ./ci/setup.sh"]) is is_read
