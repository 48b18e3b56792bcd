"""The terms that an attempt was started with, in its folder: another process may have to follow it.

The settings of that process may be other ones. They are those of the next attempt.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator.config.settings import RunLimits
from orchestrator.files import write_atomically
from orchestrator.project.run_folder import AttemptFolders

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class AttemptTerms(Struct, frozen=True, kw_only=True):
    limits: RunLimits
    agreed: dict[str, str | None]
    """The hashes of the plan's file and of the configuration in the folder; None for an unreadable file."""
    min_tool_calls: int
    """`agent.min_tool_calls`."""
    tree: str | None
    """The files of the folder, as git stores them; None where git cannot."""
    boot: str = ""
    """The id of the machine's boot; empty where the machine has none."""
    model: str | None = None
    """`agent.model`."""
    account: str = ""
    """Its credential, as `AccountFiles.identify` names it; empty without one."""


def write_attempt_terms(folders: AttemptFolders, terms: AttemptTerms) -> None:
    write_atomically(folders.terms, msgspec.json.encode(terms))


def read_attempt_terms(folders: AttemptFolders) -> AttemptTerms | None:
    """None for an attempt of a version that did not store them."""
    if not folders.terms.exists():
        return None
    return msgspec.json.decode(folders.terms.read_bytes(), type=AttemptTerms)


def read_boot_id() -> str:
    """The kernel's id of the present boot; empty where the kernel has none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""
