"""How two commits or trees differ, path by path."""

import os
from typing import NamedTuple

from orchestrator.workspace.git import TREE_SECONDS, Git

ABSENT = "000000"
LINK = "120000"


class Difference(NamedTuple):
    path: str
    before: str
    """The mode as git writes it; ABSENT when the first does not have the path."""
    mode: str
    """The mode in the second."""
    blob: str
    """The object at this path in the second."""


async def differences(git: Git, first: str, second: str) -> list[Difference]:
    """A rename is a deletion and an addition."""
    listing = await git.run(
        "diff-tree", "-r", "-z", "--no-renames", "--raw", first, second, timeout=TREE_SECONDS
    )
    fields = os.fsdecode(listing).split("\0")
    found = []
    for head, path in zip(fields[::2], fields[1::2], strict=False):
        before, after, _, blob, _ = head.removeprefix(":").split(" ")
        found.append(Difference(path, before, after, blob))
    return found
