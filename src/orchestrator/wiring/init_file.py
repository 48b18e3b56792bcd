"""The configuration that `init` writes: what is found in a repository, and the rest as comments."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from orchestrator.gates.discovery import discover

LANGUAGES = (
    ("Python", ("pyproject.toml", "setup.py", "requirements.txt", "uv.lock")),
    ("JavaScript or TypeScript", ("package.json",)),
    ("Rust", ("Cargo.toml",)),
    ("Go", ("go.mod",)),
)

# By what lies at the root, the first that fits.
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

SECRETS = (
    *(".env", ".env.*", ".envrc", ".npmrc", ".pypirc", ".netrc", ".pgpass", "id_rsa", "id_ed25519"),
    *("*.pem", "*.key", "*.p12", "credentials.json", "secrets.json", "secrets.toml", "secrets.y*ml"),
)
SAMPLES = ("*.example", "*.sample", "*.template", "*.dist", "*.pub")
"""Shown to the agent, because others are meant to see them."""

PACKAGES = (("Cargo.toml", ("cargo",)), ("go.mod", ("golang-go",)))
"""What the image does not bring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    languages: tuple[str, ...]
    managers: tuple[str, ...]
    """Lock files with their package managers."""
    test: str | None
    secrets: tuple[str, ...]
    packages: tuple[str, ...]


def look(names: Collection[str]) -> Found:
    """What the names at a repository's root tell."""
    return Found(
        languages=tuple(name for name, signs in LANGUAGES if any(sign in names for sign in signs)),
        managers=tuple(f"{manager.lock} ({manager.name})" for manager in discover(names)),
        test=next((command for sign, command in TESTS if sign in names), None),
        secrets=tuple(name for name in sorted(names) if _is_secret(name)),
        packages=tuple(package for sign, wanted in PACKAGES if sign in names for package in wanted),
    )


def _is_secret(name: str) -> bool:
    return name.isprintable() and _fits(name, SECRETS) and not _fits(name, SAMPLES)


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in patterns)


def configuration(found: Found) -> str:
    """A commented orchestrator.toml; what was guessed is a comment, except the hiding of secrets."""
    languages = ", ".join(found.languages) or "no language that is known"
    hidden = json.dumps(list(found.secrets) or [".env"], ensure_ascii=False)
    lines = [
        "# Settings of the orchestrator for this repository. `orchestrator doctor` shows all of them.",
        f"# Found: {languages}; lock files: {', '.join(found.managers) or 'none'}.",
        "",
        "[verify]",
        "# Commands that every task must pass besides its own.",
        f"# task = {json.dumps([found.test or 'make test'])}",
        "# Commands that the milestone must pass after its last task.",
        "# milestone = []",
        "",
        "[setup]",
        "# What installs the dependencies; without it, the lock files at the root say so.",
        "# commands = []",
        "",
        "[image]",
        "# Debian packages on top of the image. They need your approval: orchestrator trust",
        f"# packages = {json.dumps(list(found.packages) or ['postgresql'])}",
        "",
        "[masked]",
        "# Files that the agent sees empty.",
        f"{'' if found.secrets else '# '}files = {hidden}",
        "",
        "[limits]",
        "# attempts = 3",
        "# attempt_seconds = 14400",
    ]
    return "\n".join(lines) + "\n"
