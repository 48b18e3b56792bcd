"""The values of a repository's file that the user has approved: stored in the state folder, away from agents.

The approved values themselves are stored, not only their hash, so that a later change can be shown. A record
belongs to one code folder, identified by the real path of its `.git`. A record that another user could have
written is ignored.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.files import open_regular, write_atomically

SCHEMA = 1
LARGEST_RECORD = 1_000_000  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalItem:
    """A value of the repository's file that is used only with the user's approval."""

    key: str
    value: object
    """As it was written."""
    where: str
    """`orchestrator.toml:12`"""
    reason: str
    """Why it needs approval."""
    approved: bool
    before: object = None
    """The value that was approved for this key before, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    values: Mapping[str, object] = field(default_factory=dict)
    """By key, as they were written."""
    everything: bool = False
    """True for the stored file of a run: its values were approved when the run started."""

    def covers(self, key: str, value: object) -> bool:
        if self.everything:
            return True
        return key in self.values and canonical(self.values[key]) == canonical(value)


def canonical(value: object) -> str:
    """A text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def read_approval(state: Path, folder: Path) -> Approval:
    """The approved values of a code folder; none without a record, or with one that others could write."""
    path = _record_path(state, folder)
    try:
        with open_regular(path) as file:
            found = (state.stat(), path.parent.stat(), os.fstat(file.fileno()))
            # A record that another user could have written approves nothing. The folders count as well: who
            # can write to one can replace the file in it.
            if all(map(_is_private, found)):
                return _parse_record(file.read(LARGEST_RECORD), _identity(folder))
    except OSError:
        pass
    return Approval()


def write_approval(state: Path, folder: Path, values: Mapping[str, object]) -> None:
    """Approve exactly these values; an earlier approval is replaced. Raises OSError."""
    path = _record_path(state, folder)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    record = {"schema": SCHEMA, "repository": _identity(folder), "values": dict(values)}
    write_atomically(path, f"{canonical(record)}\n".encode())


def _identity(folder: Path) -> str:
    return os.path.realpath(folder / ".git")


def _record_path(state: Path, folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(_identity(folder))).hexdigest()[:32]
    return state / "trust" / f"{name}.json"


def _is_private(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _parse_record(content: bytes, identity: str) -> Approval:
    try:
        record: Any = json.loads(content)
    except (ValueError, RecursionError):
        return Approval()
    known = isinstance(record, dict) and record.get("schema") == SCHEMA
    if not known or record.get("repository") != identity or not isinstance(record.get("values"), dict):
        return Approval()
    return Approval(values=record["values"])
