"""How two commits or trees differ, path by path."""

import os
from typing import NamedTuple

from orchestrator.workspace.git import TREE_SECONDS, Git

ABSENT = "000000"
LINK = "120000"


class Difference(NamedTuple):
    path: str
    before: str
    """The mode in the first, as git writes it; ABSENT when the first does not have the path."""
    mode: str
    """The mode in the second, or ABSENT."""
    blob: str
    """The id of the content in the second; all zeros when ABSENT."""


async def list_differences(git: Git, first: str, second: str) -> list[Difference]:
    """Paths that differ; a rename is a deletion and an addition."""
    listing = await git.run(
        "diff-tree", "-r", "-z", "--no-renames", "--raw", first, second, timeout=TREE_SECONDS
    )
    fields = os.fsdecode(listing).split("\0")
    found = []
    for head, path in zip(fields[::2], fields[1::2], strict=False):
        before, after, _, blob, _ = head.removeprefix(":").split(" ")
        found.append(Difference(path, before, after, blob))
    return found
