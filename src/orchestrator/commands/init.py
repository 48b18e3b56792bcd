"""`init`: write a configuration with what is detected in a repository; the rest is comments."""

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType

from orchestrator.config import REPOSITORY_FILE
from orchestrator.errors import UsageError
from orchestrator.files import give_to
from orchestrator.gates.discovery import discover
from orchestrator.project.host import Host
from orchestrator.subprocesses import Identity

LANGUAGES = (
    ("Python", ("pyproject.toml", "setup.py", "requirements.txt", "uv.lock")),
    ("JavaScript or TypeScript", ("package.json",)),
    ("Rust", ("Cargo.toml",)),
    ("Go", ("go.mod",)),
)

# By a file at the root; the first that matches.
TESTS = (
    ("uv.lock", "uv run pytest -q"),
    ("requirements.txt", ".venv/bin/python -m pytest -q"),
    ("pnpm-lock.yaml", "pnpm test"),
    ("yarn.lock", "yarn test"),
    ("package.json", "npm test"),
    ("Cargo.toml", "cargo test"),
    ("go.mod", "go test ./..."),
    ("pyproject.toml", "python3 -m pytest -q"),
    ("Makefile", "make test"),
)

SECRETS_BELOW = (
    *(".env", ".env.*", "*.env", ".envrc", ".npmrc", ".pypirc", "*.tfvars"),
    *("credentials.json", "service-account*.json", "secrets.json", "secrets.toml", "secrets.y*ml"),
)
"""Names of secrets in subfolders, without keys and certificates: those are mostly samples of tests."""
SECRETS = (
    *(*SECRETS_BELOW, ".netrc", ".pgpass", ".htpasswd", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore"),
)
_DEEPEST = 4
_MOST_FILES = 50_000
_NOT_THE_PROJECTS = frozenset(
    {".git", ".venv", "venv", "node_modules", "target", "vendor", "site-packages", "dist", "build"}
)
READ = (
    *("pyproject.toml", "requirements.txt", "requirements-dev.txt", "setup.cfg", "tox.ini"),
    "package.json",
)
LARGEST_BYTES = 1_000_000
_SCRIPT = re.compile(r'"scripts"\s*:\s*\{[^{}]*"test"\s*:')
SAMPLES = ("*.example", "*.sample", "*.template", "*.dist", "*.pub")
"""Not hidden from the agent, because they are meant to be read by others."""

PACKAGES = (("Cargo.toml", ("cargo",)), ("go.mod", ("golang-go",)))
"""Packages that the image lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    languages: tuple[str, ...]
    managers: tuple[str, ...]
    """Lock files with their package managers."""
    test: str | None
    secrets: tuple[str, ...]
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    path: Path
    found: Found


def init(host: Host) -> Written:
    """Write orchestrator.toml into the code folder. Raises UsageError when there is one already."""
    folder = host.code_folder()
    path = folder / REPOSITORY_FILE
    texts = {name: text for name in READ if (text := _read_text(folder / name)) is not None}
    found = detect_project({entry.name for entry in folder.iterdir()}, texts, secrets_below(folder))
    owner = folder.stat()
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(render_configuration(found))
            give_to(file.fileno(), Identity(uid=owner.st_uid, gid=owner.st_gid))
    except FileExistsError:
        raise UsageError(
            "the file already exists", where=str(path), hint="Its settings are listed by: orchestrator doctor"
        ) from None
    except OSError as error:
        raise UsageError(f"the file cannot be written: {error.strerror}", where=str(path)) from None
    return Written(path=path, found=found)


def _read_text(path: Path) -> str | None:
    """The text of a regular file of a reasonable size."""
    if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
        return None
    return path.read_text("utf-8", "replace")


def detect_project(
    names: Collection[str],
    texts: Mapping[str, str] = MappingProxyType({}),
    below: Sequence[str] = (),
) -> Found:
    """Detect languages, package managers, test command and secrets.

    `names` are the entries of the repository's root, `texts` the known contents of files in READ, and `below`
    the paths of secrets in subfolders.
    """
    return Found(
        languages=tuple(name for name, signs in LANGUAGES if any(sign in names for sign in signs)),
        managers=tuple(f"{manager.lock} ({manager.name})" for manager in discover(names)),
        test=next((command for sign, command in TESTS if sign in names and _is_likely(command, texts)), None),
        secrets=(*(name for name in sorted(names) if _is_secret(name, SECRETS)), *below),
        packages=tuple(package for sign, wanted in PACKAGES if sign in names for package in wanted),
    )


def secrets_below(folder: Path) -> tuple[str, ...]:
    """Paths of secrets in subfolders, relative to `folder`; the search is bounded and follows no link."""
    found: list[str] = []
    seen = 0
    for project, folders, files in os.walk(folder):
        above = Path(project).relative_to(folder)
        folders[:] = sorted(set(folders) - _NOT_THE_PROJECTS) if len(above.parts) < _DEEPEST else []
        seen += len(files)
        if seen > _MOST_FILES:
            break
        if above.parts:
            found += [str(above / name) for name in sorted(files) if _is_secret(name, SECRETS_BELOW)]
    return tuple(path for path in found if path.isprintable())


def _is_likely(command: str, texts: Mapping[str, str]) -> bool:
    """Whether the project mentions pytest, or has a script `test`; where its files are unknown it may."""
    if "pytest" in command:
        known = [text for name, text in texts.items() if name != "package.json"]
        return not known or any("pytest" in text for text in known)
    if command.split(maxsplit=1)[0] in ("npm", "pnpm", "yarn") and "package.json" in texts:
        return _SCRIPT.search(texts["package.json"]) is not None
    return True


def _is_secret(name: str, patterns: tuple[str, ...]) -> bool:
    return name.isprintable() and _matches(name, patterns) and not _matches(name, SAMPLES)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in patterns)


def render_configuration(found: Found) -> str:
    """A commented orchestrator.toml: every guess is a comment, except that secrets are hidden."""
    languages = ", ".join(found.languages) or "no known language"
    hidden = json.dumps(list(found.secrets) or [".env"], ensure_ascii=False)
    lines = [
        "# Settings of the orchestrator for this repository. `orchestrator doctor` shows all of them.",
        f"# Detected: {languages}; lock files: {', '.join(found.managers) or 'none'}.",
        "",
        "[verify]",
        "# Commands that every task must pass in addition to its own.",
        f"# task = {json.dumps([found.test or 'make test'])}",
        "# Commands that the milestone must pass after its last task.",
        "# milestone = []",
        "",
        "[setup]",
        "# Commands that install the dependencies; by default they follow from the lock files at the root.",
        "# commands = []",
        "",
        "[image]",
        "# Debian packages to add to the image. They need your approval: orchestrator trust",
        f"# packages = {json.dumps(list(found.packages) or ['postgresql'])}",
        "",
        "[masked]",
        "# Files that are empty for the agent.",
        f"{'' if found.secrets else '# '}files = {hidden}",
        "",
        "[limits]",
        "# attempts = 3",
        "# attempt_seconds = 14400",
    ]
    return "\n".join(lines) + "\n"
