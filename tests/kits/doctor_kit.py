"""A folder to check, and what the command reports about it."""

import json
import subprocess  # noqa: TID251 - git as a user types it
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    def check(self, name: str) -> dict[str, Any]:
        (found,) = [check for check in self.json["checks"] if check["name"] == name]
        result: dict[str, Any] = found
        return result

    def setting(self, key: str) -> dict[str, Any]:
        (found,) = [row for row in self.json["settings"] if row["key"] == key]
        result: dict[str, Any] = found
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A code folder, and the command as its owner types it there."""

    folder: Path
    diagnose: Callable[..., Diagnosis] = field(repr=False)

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.folder, check=True, capture_output=True)

    def commit(self) -> None:
        self.git("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qm", "start")

    def start(self) -> None:
        self.git("init", "-q")
        (self.folder / "a.txt").write_text("a\n")
        self.git("add", "-A")
        self.commit()
