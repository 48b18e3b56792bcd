"""The repository that a container sees over `/workspace/.git`: made for it alone, and never read by the host.

An agent can write hooks, filters, refs and an index into the repository that it sees, and git on the host
would run or trust them. So an agent sees neither the user's repository nor the orchestrator's. It gets a
repository made for its attempt, in which refs and index look like the user's; the user's objects are mounted
read-only and borrowed. Every change that the agent makes there (commits, a rebase, `gc`) ends with the
attempt: nothing on the host reads that repository afterwards, and a candidate is made from the files alone. A
gate gets a repository with its candidate.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from orchestrator.files import give_tree_to
from orchestrator.mounts import Bind
from orchestrator.workspace.checkout import Checkout
from orchestrator.workspace.git import TREE_SECONDS, Git
from orchestrator.workspace.refs import list_branches_and_tags
from orchestrator.workspace.store import USER_ATTRIBUTES, Store, copy_shallow, init_repository, write_config

WORKSPACE = "/workspace"
GIT_TARGET = f"{WORKSPACE}/.git"
APART_GIT_TARGET = "/run/orchestrator/git"
OBJECTS_TARGET = "/run/orchestrator/objects"

_BLOCK = 512
_PATTERN_SIGNS = re.compile(r"[\\*?\[ ]")


async def make_agent_git_dir(checkout: Checkout, into: Path, *, branch: str) -> tuple[Bind, ...]:
    """Make a repository that looks like the user's now, on `branch`, for the container's uid."""
    store = checkout.store
    target = APART_GIT_TARGET if store.layout.git_is_a_file else GIT_TARGET
    await _create(store, into, branch=branch, commit=None, target=target)
    with checkout.copy_index() as git:
        assert git.index is not None
        if git.index.exists():
            if any(checkout.git_dir.glob("sharedindex.*")):
                await git.run("update-index", "--no-split-index")
            shutil.copy2(git.index, into / "index")
    return _finish_git_dir(store, into, target)


async def make_gate_git_dir(store: Store, into: Path, *, commit: str, branch: str) -> tuple[Bind, ...]:
    """Make a repository with the candidate on `branch`, and its objects; `git status` in it is clean."""
    # Mounted as a folder: the gate's files come from the archive, which has no `.git` of any kind.
    known = await _create(store, into, branch=branch, commit=commit, target=GIT_TARGET)
    receiver = Git(git_dir=into, folder=store.layout.folder, cwd=into, alternates=store.layout.object_stores)
    wanted = "".join([f"{commit}\n", *(f"^{ref}\n" for ref in known.values())])
    await store.git.stream(
        ("pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"),
        receiver,
        ("index-pack", "--stdin", "--fix-thin"),
        stdin=wanted.encode(),
    )
    await receiver.with_index(into / "index").run("read-tree", commit, timeout=TREE_SECONDS)
    return _finish_git_dir(store, into, GIT_TARGET)


async def write_gate_archive(store: Store, commit: str, into: Path, *, uid: int, gid: int) -> None:
    """Write the candidate's files as a tar for the container's `/`, below `workspace/`, all owned by uid:gid.

    Every file gets the present time. The setup image may hold compiled files (`.pyc`, objects of `make`) that
    are matched to their sources by time and size. With a constant time, a changed source of the same size
    would count as unchanged, and the gate would test the base.
    """
    await store.git.run(
        "-c",
        "tar.umask=022",
        "archive",
        "--format=tar",
        "--prefix=workspace/",
        f"--output={into}",
        commit,
        timeout=TREE_SECONDS,
    )
    now = int(store.clock.now().timestamp())
    await asyncio.to_thread(_set_owner_and_time, into, uid=uid, gid=gid, mtime=now)


def exclude_in(repository: Path, paths: Iterable[str]) -> None:
    """Let git ignore these folders in a repository made here, which no container uses yet."""
    # A name with a line break would become two patterns, and the second one could hide any file of the tree.
    lines = ["/" + _PATTERN_SIGNS.sub(r"\\\g<0>", path) for path in paths if path.isprintable()]
    with (repository / "info" / "exclude").open("a", encoding="utf-8") as file:
        file.write("".join(f"\n{line}" for line in lines) + "\n")


async def _create(
    store: Store, into: Path, *, branch: str, commit: str | None, target: str
) -> dict[str, str]:
    """Create the repository without objects and index, with `branch` at `commit` if one is given.

    Returns the user's refs: their objects are in the stores that will be mounted.
    """
    layout = store.layout
    into.parent.mkdir(parents=True, exist_ok=True)
    init_repository(into, layout.object_format)
    core = {"bare": "false", "logAllRefUpdates": "true"}
    core |= {name.removeprefix("core."): value for name, value in store.taken_over}
    core["attributesFile"] = f"{target}/{USER_ATTRIBUTES}"
    user = {"name": store.author.name, "email": store.author.email}
    write_config(into / "config", layout.object_format, {"core": core, "user": user})
    known = await list_branches_and_tags(store)
    refs = known if commit is None else {**known, f"refs/heads/{branch}": commit}
    lines = [f"{ref} {name}\n" for name, ref in sorted(refs.items())]
    (into / "packed-refs").write_bytes(os.fsencode("".join(lines)))
    (into / "HEAD").write_bytes(os.fsencode(f"ref: refs/heads/{branch}\n"))
    for name in ("info/exclude", "info/attributes", USER_ATTRIBUTES):
        shutil.copyfile(store.git_dir / name, into / name)
    alternates = "".join(f"{OBJECTS_TARGET}/{number}\n" for number in range(len(layout.object_stores)))
    (into / "objects" / "info" / "alternates").write_text(alternates)
    copy_shallow(layout, into)
    return known


def _finish_git_dir(store: Store, into: Path, target: str) -> tuple[Bind, ...]:
    layout = store.layout
    binds = [Bind(source=into, target=target)]
    if target != GIT_TARGET:
        # In a linked worktree `.git` is a file, and only a file can be mounted over a file.
        pointer = into / "pointer"
        pointer.write_text(f"gitdir: {APART_GIT_TARGET}\n")
        binds.append(Bind(source=pointer, target=GIT_TARGET))
    if os.geteuid() != layout.owner.uid:
        give_tree_to(into, layout.owner)
    binds += [
        # Read-only: with write access an agent could replace or delete objects of the user's own repository.
        Bind(source=objects, target=f"{OBJECTS_TARGET}/{number}", read_only=True)
        for number, objects in enumerate(layout.object_stores)
    ]
    return tuple(binds)


def _set_owner_and_time(archive: Path, *, uid: int, gid: int, mtime: int) -> None:
    """Set owner and time in every header of a tar, without rewriting the archive.

    Reading and writing it with `tarfile` would copy gigabytes, and change names that are not UTF-8 or need an
    extended header. Here only the fields of the fixed header change; the rest stays as git wrote it.
    """
    with archive.open("r+b") as tar:
        for offset, header in _headers(tar):
            header[108:116] = _number(uid, 8)
            header[116:124] = _number(gid, 8)
            header[136:148] = _number(mtime, 12)
            header[148:156] = b" " * 8  # the checksum counts its own field as spaces
            header[148:156] = b"%06o\0 " % sum(header)
            tar.seek(offset)
            tar.write(header)


def _headers(tar: BinaryIO) -> Iterator[tuple[int, bytearray]]:
    offset = 0
    while True:
        tar.seek(offset)
        header = bytearray(tar.read(_BLOCK))
        if len(header) < _BLOCK or not any(header):
            return
        field = header[124:136]
        # Octal digits, or, from 8 GiB on, a binary number that is marked by the highest bit.
        binary = int.from_bytes(field, "big") & ((1 << 88) - 1)
        size = binary if field[0] & 0x80 else int(field.rstrip(b"\0 ") or b"0", 8)
        yield offset, header
        offset += _BLOCK + (size + _BLOCK - 1) // _BLOCK * _BLOCK


def _number(value: int, width: int) -> bytes:
    """A field of a tar header: octal digits, or a binary number where they are too few (uid > 2,097,151)."""
    if value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return (value | 1 << (8 * width - 1)).to_bytes(width, "big")
