"""What a container sees of git: a repository of its own, mounted over `/workspace/.git`.

An agent can write hooks, filters and refs into the repository it sees. So it never sees the user's or ours:
it gets one made for its attempt, with the user's objects mounted read-only, and nothing on the host reads
that one afterwards. A gate gets one that holds its candidate.
"""

import asyncio
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from orchestrator.files import give_tree_to
from orchestrator.mounts import Bind
from orchestrator.workspace.checkout import Checkout
from orchestrator.workspace.git import TREE_SECONDS, Git
from orchestrator.workspace.store import USER_ATTRIBUTES, Store, copy_shallow, init_repository, write_config

WORKSPACE = "/workspace"
GIT_TARGET = f"{WORKSPACE}/.git"
APART_GIT_TARGET = "/run/orchestrator/git"
OBJECTS_TARGET = "/run/orchestrator/objects"

_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ref:
    name: str
    commit: str


async def make_agent_git_dir(checkout: Checkout, into: Path, *, branch: str) -> tuple[Bind, ...]:
    """Make a repository that looks like the user's now, on `branch`, for the container's uid."""
    store = checkout.store
    target = APART_GIT_TARGET if store.layout.git_is_a_file else GIT_TARGET
    await _make(store, into, branch=branch, moved=None, target=target)
    with checkout.index_copy() as git:
        assert git.index is not None
        if git.index.exists():
            if any(checkout.git_dir.glob("sharedindex.*")):
                await git.run("update-index", "--no-split-index")
            shutil.copy2(git.index, into / "index")
    return _finish_git_dir(store, into, target)


async def make_gate_git_dir(store: Store, into: Path, *, commit: str, branch: str) -> tuple[Bind, ...]:
    """Make a repository with the candidate on `branch`, and its objects; `git status` in it is clean."""
    # Mounted as a folder: the gate's files come from the archive, which has no `.git` of any kind.
    known = await _make(store, into, branch=branch, moved=commit, target=GIT_TARGET)
    receiver = Git(git_dir=into, folder=store.layout.folder, cwd=into, alternates=store.layout.object_stores)
    wanted = "".join([f"{commit}\n", *(f"^{ref.commit}\n" for ref in known)])
    await store.git.stream(
        ("pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"),
        receiver,
        ("index-pack", "--stdin", "--fix-thin"),
        stdin=wanted.encode(),
    )
    await receiver.with_index(into / "index").run("read-tree", commit, timeout=TREE_SECONDS)
    return _finish_git_dir(store, into, GIT_TARGET)


async def write_gate_archive(store: Store, commit: str, into: Path, *, uid: int, gid: int) -> None:
    """The candidate's files as a tar for the container's `/`, below `workspace/`, all owned by uid:gid.

    Their time is now. With a constant time, a build would take a changed file of the same size for the one
    that it compiled before.
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
    await asyncio.to_thread(_give_entries, into, uid=uid, gid=gid, mtime=int(store.clock.now().timestamp()))


async def _make(store: Store, into: Path, *, branch: str, moved: str | None, target: str) -> tuple[_Ref, ...]:
    """The repository without objects and index; gives the refs that the user's store has objects for."""
    layout = store.layout
    into.parent.mkdir(parents=True, exist_ok=True)
    await init_repository(into, layout)
    core = {"bare": "false", "logAllRefUpdates": "true"}
    core |= {name.removeprefix("core."): value for name, value in store.taken_over}
    core["attributesFile"] = f"{target}/{USER_ATTRIBUTES}"
    user = {"name": store.author.name, "email": store.author.email}
    write_config(into / "config", layout.object_format, {"core": core, "user": user})
    known = await _branches_and_tags(store)
    shown = {ref.name: ref.commit for ref in known}
    if moved is not None:
        shown[f"refs/heads/{branch}"] = moved
    lines = [f"{commit} {name}\n" for name, commit in sorted(shown.items())]
    (into / "packed-refs").write_bytes(os.fsencode("".join(lines)))
    (into / "HEAD").write_bytes(os.fsencode(f"ref: refs/heads/{branch}\n"))
    for name in ("info/exclude", "info/attributes", USER_ATTRIBUTES):
        shutil.copyfile(store.git_dir / name, into / name)
    stores = range(len(layout.object_stores))
    alternates = "".join(f"{OBJECTS_TARGET}/{number}\n" for number in stores)
    (into / "objects" / "info" / "alternates").write_text(alternates)
    copy_shallow(layout, into)
    return known


async def _branches_and_tags(store: Store) -> tuple[_Ref, ...]:
    """Only `rev-parse` runs in the user's repository; names and commits come in the same order."""
    git = store.layout.users_git
    names = await git.text("rev-parse", "--symbolic-full-name", "--branches", "--tags")
    commits = await git.text("rev-parse", "--branches", "--tags")
    pairs = zip(names.splitlines(), commits.splitlines(), strict=True)
    return tuple(_Ref(name=name, commit=commit) for name, commit in pairs)


def _finish_git_dir(store: Store, into: Path, target: str) -> tuple[Bind, ...]:
    layout = store.layout
    binds = [Bind(source=into, target=target)]
    if target != GIT_TARGET:
        # Over a file only a file can be mounted.
        pointer = into / "pointer"
        pointer.write_text(f"gitdir: {APART_GIT_TARGET}\n")
        binds.append(Bind(source=pointer, target=GIT_TARGET))
    if os.geteuid() != layout.owner.uid:
        give_tree_to(into, layout.owner)
    binds += [
        Bind(source=objects, target=f"{OBJECTS_TARGET}/{number}", read_only=True)
        for number, objects in enumerate(layout.object_stores)
    ]
    return tuple(binds)


def _give_entries(archive: Path, *, uid: int, gid: int, mtime: int) -> None:
    """Set owner and time in every header of a tar, in place.

    Only the header's own fields are touched, so names of any kind (long, not UTF-8) stay as git wrote them.
    """
    with archive.open("r+b") as tar:
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
