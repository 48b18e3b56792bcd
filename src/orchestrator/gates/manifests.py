"""The manifests of a folder, and what one language's manifests say. Pure."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

READ = (
    *("pyproject.toml", "requirements.txt", "requirements-dev.txt", "dev-requirements.txt"),
    *("setup.py", "setup.cfg", "tox.ini", "noxfile.py", "Pipfile", "package.json", "composer.json"),
    *("Makefile", "Cargo.toml", "Cargo.lock", "go.mod"),
)
"""The files whose content is asked for. A file that is not known counts as empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """The names in a folder, and the content of those in READ."""

    names: frozenset[str]
    texts: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return self.texts.get(name, "")

    def table(self, name: str) -> Mapping[str, Any]:
        """A TOML or JSON file as a table; empty where it cannot be read."""
        try:
            found = tomllib.loads(self.text(name)) if name.endswith(".toml") else json.loads(self.text(name))
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def inner_table(above: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The table at this path; empty where there is none."""
    for name in names:
        found = above.get(name)
        above = found if isinstance(found, dict) else {}
    return above


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of a project that one folder holds in one language."""

    language: str
    test: str | None = None
    """The command that runs the tests, in this folder."""
    setup: tuple[str, ...] = ()
    """Commands that install what no lock file of `discovery` announces, in this folder."""
    packages: tuple[str, ...] = ()
    """Debian packages that the image lacks."""
    note: str | None = None
    """A problem that only the user can solve: neither a setup command nor a Debian package does."""
