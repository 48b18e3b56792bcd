"""What a container sees of git: a repository of its own over `/workspace/.git`; for a gate, its candidate.

An agent may do in its repository what it likes; nothing of it is read again.
"""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from orchestrator.workspace.delivery import give_tree
from orchestrator.workspace.git import TREE_SECONDS, Git
from orchestrator.workspace.repository import (
    USER_ATTRIBUTES,
    OwnRepository,
    copy_shallow,
    init_repository,
    write_config,
)

WORKSPACE = "/workspace"
GIT_TARGET = f"{WORKSPACE}/.git"
APART_GIT_TARGET = "/run/orchestrator/git"
OBJECTS_TARGET = "/run/orchestrator/objects"

_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class GitMount:
    """A host file or folder that belongs into a container."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ref:
    name: str
    commit: str


async def make_agent_git_dir(own: OwnRepository, into: Path, *, branch: str) -> tuple[GitMount, ...]:
    """A repository as the user's looks now, on `branch`, for the container's uid. `into` is made."""
    target = APART_GIT_TARGET if own.layout.git_is_a_file else GIT_TARGET
    await _make(own, into, branch=branch, moved=None, target=target)
    with own.index_copy() as git:
        assert git.index is not None
        if git.index.exists():
            if any(own.layout.git_dir.glob("sharedindex.*")):
                await git.run("update-index", "--no-split-index")
            shutil.copy2(git.index, into / "index")
    return _hand_over(own, into, target)


async def make_gate_git_dir(
    own: OwnRepository, into: Path, *, commit: str, branch: str
) -> tuple[GitMount, ...]:
    """A repository whose `branch` is the candidate, holding its objects; `git status` in it is clean."""
    # A gate's folder comes from the archive, which has no `.git`, neither folder nor file.
    known = await _make(own, into, branch=branch, moved=commit, target=GIT_TARGET)
    receiver = Git(git_dir=into, folder=own.layout.folder, cwd=into, alternates=own.layout.object_stores)
    wanted = "".join([f"{commit}\n", *(f"^{ref.commit}\n" for ref in known)])
    await own.git.stream(
        ("pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"),
        receiver,
        ("index-pack", "--stdin", "--fix-thin"),
        stdin=wanted.encode(),
    )
    await receiver.with_index(into / "index").run("read-tree", commit, timeout=TREE_SECONDS)
    return _hand_over(own, into, GIT_TARGET)


async def write_gate_archive(own: OwnRepository, commit: str, into: Path, *, uid: int, gid: int) -> None:
    """The candidate's files as a tar for the container's `/`, `workspace/` first, all owned by uid:gid, new.

    Their time is now: with constant times a file of unchanged size passes for the one compiled before.
    """
    await own.git.run(
        "-c",
        "tar.umask=022",
        "archive",
        "--format=tar",
        "--prefix=workspace/",
        f"--output={into}",
        commit,
        timeout=TREE_SECONDS,
    )
    with into.open("r+b") as tar:
        _own_entries(tar, uid=uid, gid=gid, mtime=int(time.time()))


async def _make(
    own: OwnRepository, into: Path, *, branch: str, moved: str | None, target: str
) -> tuple[_Ref, ...]:
    """The repository without objects and index; gives the refs that the user's store has objects for."""
    layout = own.layout
    into.parent.mkdir(parents=True, exist_ok=True)
    await init_repository(into, layout)
    core = {"bare": "false", "logAllRefUpdates": "true"}
    core |= {name.removeprefix("core."): value for name, value in own.taken_over}
    core["attributesFile"] = f"{target}/{USER_ATTRIBUTES}"
    user = {"name": own.author.name, "email": own.author.email}
    write_config(into / "config", layout.object_format, {"core": core, "user": user})
    known = await _branches_and_tags(own)
    shown = {ref.name: ref.commit for ref in known}
    if moved is not None:
        shown[f"refs/heads/{branch}"] = moved
    lines = [f"{commit} {name}\n" for name, commit in sorted(shown.items())]
    (into / "packed-refs").write_bytes(os.fsencode("".join(lines)))
    (into / "HEAD").write_bytes(os.fsencode(f"ref: refs/heads/{branch}\n"))
    for name in ("info/exclude", "info/attributes", USER_ATTRIBUTES):
        shutil.copyfile(own.git_dir / name, into / name)
    stores = range(len(layout.object_stores))
    alternates = "".join(f"{OBJECTS_TARGET}/{number}\n" for number in stores)
    (into / "objects" / "info" / "alternates").write_text(alternates)
    copy_shallow(layout, into)
    return known


async def _branches_and_tags(own: OwnRepository) -> tuple[_Ref, ...]:
    """Only `rev-parse` runs in the user's repository; names and commits come in the same order."""
    git = own.layout.users_git
    names = await git.text("rev-parse", "--symbolic-full-name", "--branches", "--tags")
    commits = await git.text("rev-parse", "--branches", "--tags")
    pairs = zip(names.splitlines(), commits.splitlines(), strict=True)
    return tuple(_Ref(name=name, commit=commit) for name, commit in pairs)


def _hand_over(own: OwnRepository, into: Path, target: str) -> tuple[GitMount, ...]:
    layout = own.layout
    binds = [GitMount(source=into, target=target)]
    if target != GIT_TARGET:
        # Over a file only a file can be mounted.
        pointer = into / "pointer"
        pointer.write_text(f"gitdir: {APART_GIT_TARGET}\n")
        binds.append(GitMount(source=pointer, target=GIT_TARGET))
    if os.geteuid() != layout.owner.uid:
        give_tree(into, layout.owner.uid, layout.owner.gid)
    binds += [
        GitMount(source=store, target=f"{OBJECTS_TARGET}/{number}", read_only=True)
        for number, store in enumerate(layout.object_stores)
    ]
    return tuple(binds)


def _own_entries(tar: BinaryIO, *, uid: int, gid: int, mtime: int) -> None:
    """Set owner and time in every header of a tar, in place.

    Only the header's own fields are touched, so names of any kind (long, not UTF-8) stay as git wrote them.
    """
    for offset, header in _headers(tar):
        header[108:116] = _number(uid, 8)
        header[116:124] = _number(gid, 8)
        header[136:148] = _number(mtime, 12)
        header[148:156] = b" " * 8
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
        size = _size(header[124:136])
        yield offset, header
        offset += _BLOCK + (size + _BLOCK - 1) // _BLOCK * _BLOCK


def _size(field: bytearray) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & ((1 << 88) - 1)
    return int(field.rstrip(b"\0 ") or b"0", 8)


def _number(value: int, width: int) -> bytes:
    """Octal, or base 256 where that is too short (a uid over 2,097,151)."""
    if value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return (value | 1 << (8 * width - 1)).to_bytes(width, "big")
