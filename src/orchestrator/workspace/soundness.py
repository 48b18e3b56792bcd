"""Whether a `git fsck` of the user's would have nothing to say about what a candidate brings."""

import os
import re
import unicodedata
from pathlib import Path

from orchestrator.text import plain
from orchestrator.workspace.differences import LINK, differences
from orchestrator.workspace.git import TREE_SECONDS, words_of
from orchestrator.workspace.repository import OwnRepository
from orchestrator.workspace.tree import TreeRefused

# git takes no such link for what its name says, and warns of it for ever (git-fsck(1): gitignoreSymlink, …).
_READ_BY_GIT = frozenset({".gitignore", ".gitattributes", ".mailmap"})
_WARNING = re.compile(r"warning: object (?P<id>[0-9a-f]+): (?P<words>.*)")


async def check_sound(own: OwnRepository, pack: Path, *, parent: str, commit: str) -> None:
    """Raises TreeRefused for content that git calls an error, and for what it would only now warn of.

    A warning that the parent earned already is the user's own business.
    """
    index = pack.with_suffix(".checked")
    done = await own.git.try_run("index-pack", "--strict", "-o", str(index), str(pack), timeout=TREE_SECONDS)
    index.unlink(missing_ok=True)
    said = os.fsdecode(done.stderr).splitlines()
    if done.exit_code != 0:
        errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
        why = errors[0] if errors else words_of(done)
        raise TreeRefused(f"git fsck would call it damaged: {plain(why)}", where=str(own.layout.folder))
    warnings = {found["id"]: found["words"] for found in map(_WARNING.match, said) if found}
    if warnings:
        await _check_new(own, warnings, parent, commit)


async def _check_new(own: OwnRepository, warnings: dict[str, str], parent: str, commit: str) -> None:
    for new in await differences(own, parent, commit):
        if new.blob in warnings:
            raise TreeRefused(f"git fsck would warn of it: {plain(warnings[new.blob])}", where=new.path)
        if new.mode == LINK and new.before != LINK and _is_read_by_git(new.path):
            raise TreeRefused("it is a link, which git does not read and git fsck warns of", where=new.path)


def _is_read_by_git(path: str) -> bool:
    """Also by the names that some file systems take for the same: other case, invisible letters, 8.3."""
    name = path.rpartition("/")[2]
    seen = "".join(character for character in name if unicodedata.category(character) != "Cf")
    return seen.casefold().rstrip(" .") in _READ_BY_GIT or "~" in seen
