"""The settings and the image that a run uses, stored in files of its own folder."""

from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator.config import StoredSetting
from orchestrator.files import write_atomically
from orchestrator.project.run_folder import TermsFolder


class RunImageTerms(Struct, frozen=True, kw_only=True):
    id: str
    """Of the image that containers start from."""
    base: str
    """The id that `image.name` had."""
    made_of: tuple[str, ...]
    """The settings of the section `image`, as text: with others the id says nothing."""


class StoredTerms(Struct, frozen=True, kw_only=True):
    settings: tuple[StoredSetting, ...]
    image: RunImageTerms


def write_terms(folder: TermsFolder, terms: StoredTerms, *, configuration: bytes, context: str) -> None:
    folder.root.mkdir(mode=0o700, exist_ok=True)
    for path, content in (
        (folder.configuration, configuration),
        (folder.build_context, context.encode()),
        (folder.settings, msgspec.json.encode(terms)),
    ):
        write_atomically(path, content)


def read_terms(folder: TermsFolder) -> StoredTerms | None:
    """None for a run of a version that stored no settings."""
    if not folder.settings.exists():
        return None
    return msgspec.json.decode(folder.settings.read_bytes(), type=StoredTerms)


def read_context(folder: TermsFolder) -> str:
    """The hash of the Dockerfile's folder that the image was built from; empty without one."""
    path: Path = folder.build_context
    return path.read_text("utf-8") if path.exists() else ""
