"""Our own repository of a code folder: candidates are made and kept here, under settings of our making."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from orchestrator.workspace.folder import Layout, Settings, configured_patterns, repository_patterns
from orchestrator.workspace.git import Git

FALLBACK_AUTHOR = ("KTRDR Orchestrator", "orchestrator@localhost")

# What makes the same files the same for us as for the user's git. Everything else of theirs is left out.
_TAKEN_OVER = (
    "core.fileMode",
    "core.ignoreCase",
    "core.precomposeUnicode",
    "core.symlinks",
    "core.autocrlf",
    "core.eol",
)

USER_ATTRIBUTES = "user-attributes"
"""The attributes file of the user's settings, in our repository and in those for containers."""

# What is archived is all of the tree, as it stands. These lines come last, so they win.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRepository:
    layout: Layout
    git_dir: Path
    author: Author
    taken_over: tuple[tuple[str, str], ...]
    shared: str | None
    """The user's core.sharedRepository: who may write what we put into their repository."""

    @property
    def git(self) -> Git:
        """Git over our repository and the code folder; it needs an index of its own (`index_copy`)."""
        return Git(
            git_dir=self.git_dir,
            folder=self.layout.folder,
            work_tree=self.layout.folder,
            index=self.git_dir / "index",
            alternates=self.layout.object_stores,
            env=self.author.env(),
        )

    @contextmanager
    def index_copy(self) -> Iterator[Git]:
        """Git with a private copy of the user's index, flags and stat data included.

        The copy keeps its time: git tells by it which entries may have changed unseen.
        """
        with self.empty_index() as git:
            assert git.index is not None
            source = self.layout.git_dir / "index"
            if source.exists():
                shutil.copy2(source, git.index)
                for part in self.layout.git_dir.glob("sharedindex.*"):
                    shutil.copy2(part, self.git_dir / part.name)
            yield git

    @contextmanager
    def empty_index(self) -> Iterator[Git]:
        with tempfile.TemporaryDirectory(prefix="index-", dir=self.git_dir) as scratch:
            yield self.git.with_index(Path(scratch) / "index")

    def remember_documents(self, commit: str, paths: Iterable[str]) -> None:
        """Which files of a commit are written into the folder when it lands, for whoever lands it."""
        folder = self.git_dir / "documents"
        folder.mkdir(exist_ok=True)
        _write(folder / commit, json.dumps(sorted(paths)).encode())

    def documents(self, commit: str) -> tuple[str, ...]:
        try:
            return tuple(json.loads((self.git_dir / "documents" / commit).read_bytes()))
        except FileNotFoundError:
            return ()


def repository_folder(repositories: Path, layout: Layout) -> Path:
    return repositories / sha256(os.fsencode(layout.git_dir.resolve())).hexdigest()[:24]


def author_of(settings: Settings) -> Author:
    name, email = settings.get("user.name"), settings.get("user.email")
    if not name or not email:
        name, email = FALLBACK_AUTHOR
    return Author(name=name, email=email)


async def open_repository(repositories: Path, layout: Layout, settings: Settings) -> OwnRepository:
    """Make our repository of this folder, or bring the one there is up to date with the user's settings."""
    git_dir = repository_folder(repositories, layout)
    taken = [(name, settings.get(name)) for name in _TAKEN_OVER]
    own = OwnRepository(
        layout=layout,
        git_dir=git_dir,
        author=author_of(settings),
        taken_over=tuple((name, value) for name, value in taken if value is not None),
        shared=settings.get("core.sharedRepository"),
    )
    await _make_unless_there(own)
    _remove_stale_scratch(git_dir)
    _configure(own, settings)
    return own


async def _make_unless_there(own: OwnRepository) -> None:
    if own.git_dir.exists():
        return
    own.git_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix="new-", dir=own.git_dir.parent) as scratch:
        fresh = Path(scratch) / "repository"
        await init_repository(fresh, own.layout)
        try:
            fresh.replace(own.git_dir)
        except OSError:
            # Another command of the user's was faster.
            if not own.git_dir.is_dir():
                raise


async def init_repository(git_dir: Path, layout: Layout) -> None:
    git = Git(git_dir=git_dir, folder=layout.folder, cwd=git_dir.parent)
    await git.run("init", "--quiet", "--bare", "--template=", f"--object-format={layout.object_format}")
    (git_dir / "info").mkdir()


def _remove_stale_scratch(git_dir: Path) -> None:
    """Index copies of processes that were killed; a day is longer than any git command may take."""
    for scratch in git_dir.glob("index-*"):
        if scratch.stat().st_mtime < time.time() - 86_400:
            shutil.rmtree(scratch, ignore_errors=True)


def _configure(own: OwnRepository, settings: Settings) -> None:
    layout = own.layout
    attributes = own.git_dir / USER_ATTRIBUTES
    core = {"bare": "false", "logAllRefUpdates": "false", "safecrlf": "false"}
    core |= {name.removeprefix("core."): value for name, value in own.taken_over}
    core["attributesFile"] = str(attributes)
    write_config(own.git_dir / "config", layout.object_format, {"core": core})
    ignored = configured_patterns(layout, settings, setting="core.excludesFile", default="ignore")
    _write(own.git_dir / "info" / "exclude", ignored + repository_patterns(layout, "exclude"))
    # A repository's info/attributes win over those of the tree, the configured file's lose to them.
    named = configured_patterns(layout, settings, setting="core.attributesFile", default="attributes")
    _write(attributes, named)
    whole = repository_patterns(layout, "attributes") + _ARCHIVE_WHOLE
    _write(own.git_dir / "info" / "attributes", whole)
    copy_shallow(layout, own.git_dir)


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
        lines += [f"[{section}]", *(f"\t{name} = {_config_value(value)}" for name, value in values.items())]
    _write(path, os.fsencode("\n".join(lines) + "\n"))


def _config_value(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{uuid4().hex}")
    temporary.write_bytes(content)
    temporary.replace(path)
