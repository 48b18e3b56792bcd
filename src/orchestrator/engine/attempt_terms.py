"""The terms that an attempt was started with, in its folder: another process may have to follow it.

The settings of that process may be other ones. They are those of the next attempt.
"""

import msgspec
from msgspec import Struct

from orchestrator.config.settings import RunLimits
from orchestrator.files import write_atomically
from orchestrator.project.run_folder import AttemptFolders


class AttemptTerms(Struct, frozen=True, kw_only=True):
    limits: RunLimits
    agreed: dict[str, str | None]
    """The hashes of the plan's file and of the configuration in the folder; None for an unreadable file."""
    min_tool_calls: int
    """`agent.min_tool_calls`."""
    tree: str | None
    """The files of the folder, as git stores them; None where git cannot."""
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
