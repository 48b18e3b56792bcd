"""Whether git accepts a branch name: the rules of `git check-ref-format --branch`, without git."""

import re

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]")
_LONGEST_BYTES = 200


def branch_problem(name: str) -> str | None:
    """The problem with a branch name, or None. Names too long for a file system are refused as well."""
    shown = name[:60]
    if len(name.encode("utf-8", "replace")) > _LONGEST_BYTES:
        return f"the branch name `{shown}` is too long"
    if (match := _FORBIDDEN.search(name)) is not None:
        return f"the branch name `{shown}` contains {match[0]!r}"
    pieces = name.split("/")
    bad_piece = any(not piece or piece.startswith(".") or piece.endswith(".lock") for piece in pieces)
    if bad_piece or name.startswith("-") or name.endswith(".") or ".." in name or "@{" in name or name == "@":
        return f"the branch name `{shown}` is not valid for git"
    if name == "HEAD" or name.startswith("refs/"):
        return f"the branch name `{shown}` means something else to git"
    return None
