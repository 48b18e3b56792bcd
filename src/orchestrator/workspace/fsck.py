"""Refuse a candidate about whose objects a later `git fsck` of the user would complain."""

import os
import re
import unicodedata
from pathlib import Path

from orchestrator.text import plain
from orchestrator.workspace.differences import LINK, differences
from orchestrator.workspace.git import TREE_SECONDS, words_of
from orchestrator.workspace.store import Store
from orchestrator.workspace.tree import TreeRefused

# Git does not read these through a link, and warns of the link forever (git-fsck(1): gitignoreSymlink, …).
_READ_BY_GIT = frozenset({".gitignore", ".gitattributes", ".mailmap"})
_WARNING = re.compile(r"warning: object (?P<id>[0-9a-f]+): (?P<words>.*)")


async def check_objects(store: Store, pack: Path, *, parent: str, commit: str) -> None:
    """Raises TreeRefused for objects of a pack that are an error for git, and for new warnings.

    Once landed, such an object is in the user's history: every `git fsck` reports it, and a server that
    checks what it receives refuses the push. A warning that `parent` causes already does not count.
    """
    index = pack.with_suffix(".checked")
    done = await store.git.try_run(
        "index-pack", "--strict", "-o", str(index), str(pack), timeout=TREE_SECONDS
    )
    index.unlink(missing_ok=True)
    said = os.fsdecode(done.stderr).splitlines()
    if done.exit_code != 0:
        errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
        why = errors[0] if errors else words_of(done)
        raise TreeRefused(f"git fsck would call it damaged: {plain(why)}", where=str(store.layout.folder))
    warnings = {found["id"]: found["words"] for found in map(_WARNING.match, said) if found}
    if warnings:
        await _check_new(store, warnings, parent, commit)


async def _check_new(store: Store, warnings: dict[str, str], parent: str, commit: str) -> None:
    for new in await differences(store.git, parent, commit):
        if new.blob in warnings:
            raise TreeRefused(f"git fsck would warn of it: {plain(warnings[new.blob])}", where=new.path)
        if new.mode == LINK and new.before != LINK and _is_read_by_git(new.path):
            raise TreeRefused("it is a link, which git does not read and git fsck warns of", where=new.path)


def _is_read_by_git(path: str) -> bool:
    """Also under a name that some file systems treat as equal: other case, invisible letters, 8.3 names."""
    name = path.rpartition("/")[2]
    seen = "".join(character for character in name if unicodedata.category(character) != "Cf")
    return seen.casefold().rstrip(" .") in _READ_BY_GIT or "~" in seen
