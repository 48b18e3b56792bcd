"""Compares the files that a commit changes with those that its task names in the plan: pure."""

import posixpath
import re
from collections.abc import Iterable, Sequence


def list_undeclared(paths: Iterable[str], declared: Sequence[str]) -> tuple[str, ...]:
    """The paths that the task does not name, in their order; none for a task that names no files.

    An entry stands for a file, for a folder with everything in it, or for a pattern. Authors shorten paths,
    so `greet.py` stands for `src/greet.py` as well: better to name too few files than to blame an agent that
    did what the plan says.
    """
    if not declared:
        return ()
    patterns = [_pattern(entry) for entry in declared]
    return tuple(path for path in paths if not any(pattern.fullmatch(path) for pattern in patterns))


def _pattern(entry: str) -> re.Pattern[str]:
    whole = posixpath.normpath(entry.strip().lstrip("/") or ".")
    if whole == ".":
        return re.compile(".*", re.DOTALL)
    # `*` may cross folders, and the choices of `{a,b}` are not distinguished.
    pieces = re.split(r"(\*+|\?|\{[^}]*\})", whole)
    wild = {"?": "."}
    text = "".join(wild.get(piece, ".*") if n % 2 else re.escape(piece) for n, piece in enumerate(pieces))
    return re.compile(rf"(.*/)?{text}(/.*)?", re.DOTALL)
