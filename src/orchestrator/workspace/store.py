"""Our own repository of a code folder, in which candidates and saved trees are stored.

It is in the state folder, out of an agent's reach, and we write its configuration. All git commands that read
files of the code folder run here, never with the user's configuration. The reason is filters: a
`.gitattributes` that an agent wrote can assign any filter to any file, and a filter is a program that `git
add` or `git status` starts. The user's configuration may define some; ours defines none, so there is nothing
to start.

The user's objects are borrowed by path and never copied as a whole. A candidate therefore needs the user's
repository to keep its base, which one of our refs there pins: see `Store.keep`.
"""

import asyncio
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from orchestrator.clock import Clock
from orchestrator.files import DRAFTS, open_folder, write_atomically
from orchestrator.workspace.folder import (
    GitSettings,
    Layout,
    read_configured_patterns,
    read_repository_patterns,
)
from orchestrator.workspace.git import TREE_SECONDS, Git

FALLBACK_AUTHOR = ("KTRDR Orchestrator", "orchestrator@localhost")

# Settings of the user's that decide whether a file counts as changed, and start nothing. No other one is
# copied.
_TAKEN_OVER = (
    "core.fileMode",
    "core.ignoreCase",
    "core.precomposeUnicode",
    "core.symlinks",
    "core.autocrlf",
    "core.eol",
)

USER_ATTRIBUTES = "user-attributes"
"""The copied attributes file of the user's settings, in our repository and in those for containers."""

_SCRATCH = ("index-*", DRAFTS, f"info/{DRAFTS}", f"documents/{DRAFTS}")
"""Leftovers that are possible after a kill, in our repository."""

# A gate must see the whole tree, unchanged: an agent could exclude a failing test from the archive by
# `export-ignore`. The last line of this file wins over all attributes of the tree.
_ARCHIVE_WHOLE = b"* -export-ignore -export-subst\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    name: str
    email: str

    def env(self) -> dict[str, str]:
        return {
            "GIT_AUTHOR_NAME": self.name,
            "GIT_AUTHOR_EMAIL": self.email,
            "GIT_COMMITTER_NAME": self.name,
            "GIT_COMMITTER_EMAIL": self.email,
        }


KNOWN_LISTINGS = 4
"""How many commits' files are remembered: a task reads those of its base, its parent and its candidate."""
_OBJECT_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownObjects:
    """Answers of git about objects, which never change: an id is a hash of the content.

    Nothing else may be remembered. Refs, index and files change at any time, by the user and by agents.
    """

    trees: dict[str, str] = field(default_factory=dict)
    """The tree of each commit."""
    files: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Every path that a commit tracks, with its blob; of the last KNOWN_LISTINGS commits that were read."""

    def remember_tree(self, commit: str, tree: str) -> None:
        if is_object_id(commit):
            self.trees[commit] = tree

    def remember_files(self, commit: str, listing: Mapping[str, str]) -> None:
        if is_object_id(commit):
            self.files[commit] = listing
            for earlier in list(self.files)[:-KNOWN_LISTINGS]:
                del self.files[earlier]


def is_object_id(name: str) -> bool:
    """Whether a name is an object's whole id: git prefers that meaning to a ref of the same name."""
    return _OBJECT_ID.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    layout: Layout
    """The user's repository, whose objects are borrowed."""
    git_dir: Path
    author: Author
    taken_over: tuple[tuple[str, str], ...]
    clock: Clock
    shared: str | None
    """The user's core.sharedRepository: who may write the objects that we store in their repository."""
    known: KnownObjects = field(default_factory=KnownObjects, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The id of the code folder in names of locks, images and containers."""
        return self.git_dir.name

    @property
    def git(self) -> Git:
        """Git in this repository, over the files of the user's folder. It has no index."""
        return Git(
            git_dir=self.git_dir,
            folder=self.layout.folder,
            work_tree=self.layout.folder,
            # No file is there, and none is made: every operation works on an index of its own, so a kill
            # leaves no lock behind.
            index=self.git_dir / "index",
            alternates=self.layout.object_stores,
            env=self.author.env(),
        )

    @contextmanager
    def scratch_index(self) -> Iterator[Path]:
        """A path for an index of one operation; no file is there yet."""
        with (
            _protect_scratch(self.git_dir),
            tempfile.TemporaryDirectory(prefix="index-", dir=self.git_dir) as scratch,
        ):
            yield Path(scratch) / "index"

    async def commit_tree(self, tree: str, *, parent: str, message: str) -> str:
        """Make a commit in the user's name. No ref points to it yet."""
        content = message.encode("utf-8", "surrogateescape")  # independent of the locale
        commit = await self.git.text("commit-tree", tree, "-p", parent, "-F", "-", stdin=content)
        self.known.remember_tree(commit, tree)
        return commit

    async def commit_without(self, commit: str, paths: tuple[str, ...]) -> str:
        """The same commit, its parents, author and message, without these paths. No ref points to it."""
        with self.scratch_index() as index:
            git = self.git.with_index(index)
            await git.run("read-tree", commit, timeout=TREE_SECONDS)
            names = os.fsencode("".join(f"{path}\0" for path in paths))
            await git.run("update-index", "--force-remove", "-z", "--stdin", stdin=names)
            tree = await git.text("write-tree")
        _, _, rest = (await self.git.run("cat-file", "commit", commit)).partition(b"\n")
        # The rest of the commit is taken byte for byte: author, time and message stay those of the user.
        content = f"tree {tree}\n".encode() + rest
        return await self.git.text("hash-object", "-t", "commit", "-w", "--stdin", stdin=content)

    async def commit_paths(
        self,
        paths: tuple[str, ...],
        *,
        tree: str,
        parent: str,
        message: str,
        ref: str,
        base: str,
        removed: tuple[str, ...] = (),
    ) -> str:
        """Make a commit on `parent` that takes `paths` from `tree`, and keep it under `ref`.

        A path that `tree` does not have is removed, and so are those of `removed`. Where one side has a file
        and the other one a folder, what `tree` has counts.
        """
        listing = await self.git.run("ls-tree", "-r", "-z", "--full-tree", tree, timeout=TREE_SECONDS)
        rows = [row.partition("\t") for row in os.fsdecode(listing).split("\0") if row]
        entries = {path: entry for entry, _, path in rows}
        nothing = f"000000 {'0' * len(parent)}"
        lines = [f"{nothing}\t{path}\0" for path in removed]
        lines += [f"{entries.get(path, nothing)}\t{path}\0" for path in paths]
        with self.scratch_index() as index:
            git = self.git.with_index(index)
            await git.run("read-tree", parent, timeout=TREE_SECONDS)
            await git.run(
                "update-index", "--replace", "-z", "--index-info", stdin=os.fsencode("".join(lines))
            )
            combined = await git.text("write-tree")
        commit = await self.commit_tree(combined, parent=parent, message=message)
        await self.keep(commit, ref, base=base)
        return commit

    async def commit_nothing(self, *, parent: str, ref: str, base: str) -> str:
        """Make a commit on `parent` that has no file, and keep it under `ref`."""
        tree = await self.git.text("mktree", stdin=b"")
        commit = await self.commit_tree(tree, parent=parent, message="No file\n")
        await self.keep(commit, ref, base=base)
        return commit

    async def keep(self, commit: str, ref: str, *, base: str) -> None:
        """Keep a commit under a ref, with every object that `base`, which must be pinned, does not have.

        Git does not write an object that it finds in a borrowed store. Such an object may belong to no ref of
        the user's, for example to a commit that they amended, and their `git gc` may delete it tomorrow; then
        our commit would be damaged. So every object is packed here but those of `base`: one of our refs in
        the user's repository keeps these (`UserRepository.pin_base`).
        """
        await self.pack(commit, base)
        await self.git.run("update-ref", ref, commit)

    async def pack(self, commit: str, base: str) -> Path:
        """Store the objects that `commit` has and `base` has not as a pack, and return its path."""
        packs = self.git_dir / "objects" / "pack" / "pack"
        wanted = f"{commit}\n^{base}\n".encode()
        name = await self.git.text(
            "pack-objects", "--revs", "-q", str(packs), stdin=wanted, timeout=TREE_SECONDS
        )
        await self.git.run("prune-packed", "-q")
        return Path(f"{packs}-{name}.pack")

    async def keep_replaced(self, content: bytes) -> None:
        """Keep the content of a file before we overwrite it: it may be the user's work."""
        blob = await self.git.text("hash-object", "-w", "--stdin", stdin=content)
        # Without a ref, a later `gc` in this repository would delete the object.
        await self.git.run("update-ref", f"refs/replaced/{blob}", blob)

    async def forget(self, run: str) -> None:
        """Remove every ref of a run."""
        listing = await self.git.text("for-each-ref", "--format=%(refname)", "refs/ktrdr/")
        for ref in listing.split("\n"):
            # Compared as a whole part: the name of one run may be the beginning of another's.
            if ref.split("/")[3:4] == [run]:
                await self.git.run("update-ref", "-d", ref)

    def remember_documents(self, commit: str, paths: Iterable[str]) -> None:
        """Store which files of a commit have to be written into the folder when the commit lands.

        If this process is killed, a later one lands the commit, and must know them.
        """
        folder = self.git_dir / "documents"
        folder.mkdir(exist_ok=True)
        with _protect_scratch(self.git_dir):
            _write(folder / commit, json.dumps(sorted(paths)).encode())

    def documents(self, commit: str) -> tuple[str, ...]:
        try:
            return tuple(json.loads((self.git_dir / "documents" / commit).read_bytes()))
        except FileNotFoundError:
            return ()


def store_folder(repositories: Path, layout: Layout) -> Path:
    return repositories / sha256(os.fsencode(layout.git_dir.resolve())).hexdigest()[:24]


def choose_author(settings: GitSettings) -> Author:
    name, email = settings.get("user.name"), settings.get("user.email")
    if not name or not email:
        name, email = FALLBACK_AUTHOR
    return Author(name=name, email=email)


async def open_store(repositories: Path, layout: Layout, settings: GitSettings, clock: Clock) -> Store:
    """Create our repository of this folder, or update the existing one to the user's settings."""
    git_dir = store_folder(repositories, layout)
    taken = [(name, settings.get(name)) for name in _TAKEN_OVER]
    store = Store(
        layout=layout,
        git_dir=git_dir,
        author=choose_author(settings),
        taken_over=tuple((name, value) for name, value in taken if value is not None),
        shared=settings.get("core.sharedRepository"),
        clock=clock,
    )
    repositories.mkdir(parents=True, exist_ok=True, mode=0o700)
    await asyncio.to_thread(_remove_stale_scratch, repositories, ("new-*",))
    if not git_dir.exists():
        await _create(store)
    await asyncio.to_thread(_remove_stale_scratch, git_dir, _SCRATCH)
    with _protect_scratch(git_dir):
        _write_settings(store, settings)
    return store


async def _create(store: Store) -> None:
    """Create it elsewhere and rename it, so that a kill leaves either a whole repository or none."""
    parent = store.git_dir.parent
    with _protect_scratch(parent), tempfile.TemporaryDirectory(prefix="new-", dir=parent) as scratch:
        fresh = Path(scratch) / "repository"
        await asyncio.to_thread(init_repository, fresh, store.layout.object_format)
        try:
            fresh.replace(store.git_dir)
        except OSError:
            # Another command of the user's has created it in the meantime.
            if not store.git_dir.is_dir():
                raise


def init_repository(git_dir: Path, object_format: str) -> None:
    """Make an empty bare repository, as `git init` does without a template, with refs as files."""
    for name in ("info", "objects/info", "objects/pack", "refs/heads", "refs/tags"):
        (git_dir / name).mkdir(parents=True)
    (git_dir / "HEAD").write_text("ref: refs/heads/main\n")
    write_config(git_dir / "config", object_format, {"core": {"bare": "true"}})


@contextmanager
def _protect_scratch(folder: Path) -> Iterator[None]:
    """Inside, no other process removes scratch files from the folder.

    Several commands of the user can have some at the same time, each with a shared lock. The locks of killed
    ones are gone, so a process that gets an exclusive one knows that all scratch files there are leftovers.
    """
    descriptor = open_folder(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _remove_stale_scratch(folder: Path, patterns: Iterable[str]) -> None:
    """Remove what killed commands left, unless a living one has scratch files in the folder."""
    descriptor = open_folder(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in (path for pattern in patterns for path in folder.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)


def _write_settings(store: Store, settings: GitSettings) -> None:
    layout = store.layout
    attributes = store.git_dir / USER_ATTRIBUTES
    core = {"bare": "false", "logAllRefUpdates": "false", "safecrlf": "false"}
    core |= {name.removeprefix("core."): value for name, value in store.taken_over}
    core["attributesFile"] = str(attributes)
    write_config(store.git_dir / "config", layout.object_format, {"core": core})
    ignored = read_configured_patterns(layout, settings, setting="core.excludesFile", default="ignore")
    _write(store.git_dir / "info" / "exclude", ignored + read_repository_patterns(layout, "exclude"))
    # Git gives info/attributes precedence over the tree's files, and those over the configured file. We copy
    # the user's patterns to the same two places, so that each keeps its rank.
    named = read_configured_patterns(layout, settings, setting="core.attributesFile", default="attributes")
    _write(attributes, named)
    whole = read_repository_patterns(layout, "attributes") + _ARCHIVE_WHOLE
    _write(store.git_dir / "info" / "attributes", whole)
    copy_shallow(layout, store.git_dir)


def copy_shallow(layout: Layout, git_dir: Path) -> None:
    source = layout.common_dir / "shallow"
    if source.exists():
        _write(git_dir / "shallow", source.read_bytes())
    else:
        (git_dir / "shallow").unlink(missing_ok=True)


def write_config(path: Path, object_format: str, sections: dict[str, dict[str, str]]) -> None:
    version = "0" if object_format == "sha1" else "1"
    lines = ["[core]", f"\trepositoryformatversion = {version}"]
    if object_format != "sha1":
        lines += ["[extensions]", f"\tobjectFormat = {object_format}"]
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"\t{name} = {_quote(value)}" for name, value in values.items())]
    _write(path, os.fsencode("\n".join(lines) + "\n"))


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def _write(path: Path, content: bytes) -> None:
    """Readable for a container's user. Not synced: each start of the program writes these files again."""
    write_atomically(path, content, mode=0o666, sync=False)
