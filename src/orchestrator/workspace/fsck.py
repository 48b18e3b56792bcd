"""Refuse a candidate that the user's `git fsck` would complain about."""

import os
import re
import unicodedata
from pathlib import Path

from orchestrator.text import plain
from orchestrator.workspace.differences import LINK, list_differences
from orchestrator.workspace.git import TREE_SECONDS, failure_text
from orchestrator.workspace.store import Store
from orchestrator.workspace.tree import TreeRefused

# Git does not read these through a link, and warns of the link forever (git-fsck(1): gitignoreSymlink, …).
_READ_BY_GIT = frozenset({".gitignore", ".gitattributes", ".mailmap"})
_WARNING = re.compile(r"warning: object (?P<id>[0-9a-f]+): (?P<words>.*)")


async def check_objects(store: Store, pack: Path, *, parent: str, commit: str) -> None:
    """Raises TreeRefused for objects of a pack that are an error for git, and for new warnings.

    An agent can put anything into a tree: a file called `.GIT`, a `.gitmodules` that names a command, a link
    called `.gitattributes`. Once landed, such an object is in the user's history for good: every `git fsck`
    reports it, and a server that checks what it receives refuses the user's push. So the candidate is refused
    while only the orchestrator's repository has its commit. A warning about an object that `parent` has
    already does not count: the agent did not cause it, and would not be able to remove it from the history.
    """
    index = pack.with_suffix(".checked")
    done = await store.git.try_run(
        "index-pack", "--strict", "-o", str(index), str(pack), timeout=TREE_SECONDS
    )
    index.unlink(missing_ok=True)
    lines = os.fsdecode(done.stderr).splitlines()
    if done.exit_code != 0:
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        why = errors[0] if errors else failure_text(done)
        raise TreeRefused(f"git fsck would report an error: {plain(why)}", where=str(store.layout.folder))
    warnings = {found["id"]: found["words"] for found in map(_WARNING.match, lines) if found}
    for new in await list_differences(store.git, parent, commit) if warnings else []:
        if new.blob in warnings:
            raise TreeRefused(f"git fsck would warn: {plain(warnings[new.blob])}", where=new.path)
        if new.mode == LINK and new.before != LINK and _is_read_by_git(new.path):
            raise TreeRefused("it is a link: git does not read it, and git fsck warns of it", where=new.path)


def _is_read_by_git(path: str) -> bool:
    """Also under a name that some file systems treat as equal: other case, invisible letters, 8.3 names."""
    name = path.rpartition("/")[2]
    visible = "".join(character for character in name if unicodedata.category(character) != "Cf")
    return visible.casefold().rstrip(" .") in _READ_BY_GIT or "~" in visible
