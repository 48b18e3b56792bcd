"""Recognise scratch: files that tools leave in a folder and that do not belong into a commit.

In a repository without a `.gitignore`, an agent's virtual environment would be a commit of a thousand files.
So scratch that is neither tracked nor ignored stays in the folder and out of every commit.

The opposite mistake costs more: a file of the work that does not land. So only what is certain counts. The
name of a folder counts if one tool owns that name. Any other folder has to hold a file by which its tool
marks it, and that file must say so. A folder in which git tracks a file is part of the project under any
name: this is how a project keeps such a folder in its history. And what a task of the plan names in its
`File(s)` is work.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from orchestrator.files import open_regular
from orchestrator.workspace.tree import TreeRefused, parent_of

_FOLDERS = frozenset(
    (
        "node_modules",
        "bower_components",
        "__pycache__",
        "__pypackages__",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".hypothesis",
        ".ipynb_checkpoints",
        ".tox",
        ".nox",
        ".eggs",
        ".gradle",
        ".parcel-cache",
        ".turbo",
        ".pnpm-store",
        ".nyc_output",
        ".sass-cache",
        ".dart_tool",
        ".terraform",
    )
)
_FILES = re.compile(
    r"""
    .+\.py[co]                                      # Python's byte code
    | \.coverage(\..+\.[0-9]+\..+)?
    | \.eslintcache | .+\.tsbuildinfo
    | (vg)?core\.[0-9]+ | hs_err_pid[0-9]+\.log     # core dumps, and those of Valgrind and Java
    | (npm|yarn|pnpm|lerna)-(debug|error)\.log.*
    | \..+\.sw[a-p] | \.sw[a-p] | .+~               # Vim, Emacs and others
    | \.\#.+ | \#.+\#
    | nohup\.out                                    # what a command under `nohup` prints
    | \.DS_Store | \._.+ | Thumbs\.db | desktop\.ini
    """,
    re.VERBOSE,
)
_MARKS = {
    "pyvenv.cfg": re.compile(rb"^\s*home\s*=", re.MULTILINE),
    # The cache directory tagging specification; written by cargo, uv, pytest and others.
    "CACHEDIR.TAG": re.compile(rb"\ASignature: 8a477f597d28d172789f06886806bc55"),
}
"""Files by which a tool marks a folder, and what makes them valid."""
_MARK_BYTES = 4096
_ET_CORE = 4


def is_named_like_scratch(path: str) -> bool:
    """Whether a path is, or is in, what a tool leaves behind, by its name alone; nothing is opened."""
    names = path.rstrip("/").split("/")
    known = any(name in _FOLDERS or name in (".venv", "venv", ".git") for name in names)
    return known or _FILES.fullmatch(names[-1]) is not None


def find_scratch(
    folder: Path, untracked: Iterable[str], tracked: Iterable[str], wanted: Collection[str] = ()
) -> tuple[str, ...]:
    """The scratch among untracked paths, sorted; a folder ends with `/` and stands for all that is in it.

    Paths of `wanted`, and those below them, are not scratch; of a folder that holds one, the other files are.
    Opens marks and files called `core`, up to a few bytes of each, and follows no link.
    """
    paths = tuple(untracked)
    kept = {path for path in paths if is_below(path, _as_roots(wanted))} if wanted else set()
    holders = {parent for path in kept for parent in _parents(path)}
    marked = {path.rpartition("/")[0] for path in paths if _is_valid_mark(folder, path)}
    used = {parent for path in tracked for parent in _parents(path)} if paths else set()
    found = set()
    for path in paths:
        if path in kept:
            continue
        roots = (each for each in _parents(path) if each in marked or each.rpartition("/")[2] in _FOLDERS)
        root = next((each for each in roots if each not in used), None)
        if root is not None:
            found.add(path if root in holders else f"{root}/")
        elif _is_scratch_file(folder, path):
            found.add(path)
    return tuple(sorted(found))


def _as_roots(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(f"{path.rstrip('/')}{end}" for path in paths for end in ("", "/"))


def is_below(path: str, roots: frozenset[str]) -> bool:
    """Whether a path is one of `roots`, or in a folder of them; folders of `roots` end with `/`."""
    return path in roots or any(f"{parent}/" in roots for parent in _parents(path))


def _parents(path: str) -> Iterator[str]:
    """The folders that hold a path, the outermost first. One of a nested repository ends with `/`."""
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)


def _is_valid_mark(folder: Path, path: str) -> bool:
    parent, _, name = path.rpartition("/")
    # The root of the repository is never scratch, not even with a mark in it.
    return bool(parent) and name in _MARKS and _MARKS[name].search(_read_start(folder, path)) is not None


def _is_scratch_file(folder: Path, path: str) -> bool:
    name = PurePosixPath(path).name
    if _FILES.fullmatch(name) is not None:
        return True
    return (name == "core" or name.endswith(".core")) and _is_core_dump(_read_start(folder, path))


def _is_core_dump(start: bytes) -> bool:
    """Whether an ELF file says in its header that it is a core dump."""
    if len(start) < 18 or not start.startswith(b"\x7fELF"):
        return False
    return int.from_bytes(start[16:18], "big" if start[5] == 2 else "little") == _ET_CORE


def _read_start(folder: Path, path: str) -> bytes:
    """The first bytes of a regular file; empty for anything else."""
    try:
        with parent_of(folder, path) as (parent, name), open_regular(name, dir_fd=parent) as file:
            return file.read(_MARK_BYTES)
    except (OSError, TreeRefused):
        return b""
