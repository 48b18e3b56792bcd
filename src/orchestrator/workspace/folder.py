"""Where a repository keeps its parts, how it is configured, and whether a run can work in it.

Everything here only reads. A folder that cannot be used raises EnvironmentInvalid, with the reason.
"""

import os
import pwd
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import EnvironmentInvalid, WorkspaceError
from orchestrator.files import open_regular
from orchestrator.subprocesses import Identity
from orchestrator.workspace.git import Git, user_settings

_IN_PROGRESS = {
    "MERGE_HEAD": ("a merge", "git merge --abort"),
    "rebase-merge": ("a rebase", "git rebase --abort"),
    "rebase-apply": ("a rebase or am", "git rebase --abort, or git am --abort"),
    "CHERRY_PICK_HEAD": ("a cherry-pick", "git cherry-pick --abort"),
    "REVERT_HEAD": ("a revert", "git revert --abort"),
    "BISECT_LOG": ("a bisect", "git bisect reset"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The parts of a repository and their places."""

    folder: Path
    git_dir: Path
    common_dir: Path
    """Differs from `git_dir` in a linked worktree."""
    owner: Identity
    object_stores: tuple[Path, ...]
    """The repository's own objects first, then every store it borrows from."""
    object_format: str
    environ: Mapping[str, str]
    """The owner's environment: the caller's, unless root works in another user's folder."""

    @property
    def git_is_a_file(self) -> bool:
        """Whether `.git` is a file that names the git directory, as in a linked worktree."""
        return self.git_dir != self.folder / ".git"

    @property
    def owner_identity(self) -> Identity | None:
        """The identity for writing into the user's repository; None when the caller has it already."""
        return None if os.geteuid() == self.owner.uid else self.owner

    @property
    def users_git(self) -> Git:
        """Git in the user's repository, as its owner; only for commands that touch no file of the folder."""
        return Git(git_dir=self.git_dir, folder=self.folder, identity=self.owner_identity, cwd=self.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSettings:
    """The settings that the user's own git would see, in order; later entries win."""

    entries: tuple[tuple[str, str, str], ...]
    """(origin file, name in lower case but for subsections, value)"""
    notices: tuple[str, ...] = ()
    """Settings that point into the code folder, where an agent could write the file that they name."""

    def get(self, name: str) -> str | None:
        return next((value for _, key, value in reversed(self.entries) if key == name.lower()), None)

    def is_true(self, name: str) -> bool:
        return (self.get(name) or "").lower() in ("true", "yes", "on", "1")


async def read_layout(folder: Path, environ: Mapping[str, str]) -> Layout:
    """Find the repository of which `folder` is the root. Raises EnvironmentInvalid when it is not one."""
    folder, status = _status_of(folder)
    git_dir = _find_git_dir(folder)
    # Only a linked worktree has this file; its objects and branches are in the main repository.
    pointer = git_dir / "commondir"
    common_dir = git_dir
    if pointer.is_file():
        common_dir = (git_dir / os.fsdecode(_read_small_file(pointer)).strip()).resolve()
    owner = Identity(uid=status.st_uid, gid=status.st_gid)
    _check_owner(folder, git_dir, owner)
    layout = Layout(
        folder=folder,
        git_dir=git_dir,
        common_dir=common_dir,
        owner=owner,
        object_stores=_find_object_stores(common_dir / "objects"),
        object_format="sha1",
        # For a folder of another user (we are root), variables of root would name root's configuration, not
        # that of the owner.
        environ=environ if owner.uid == os.geteuid() else {},
    )
    try:
        answer = await layout.users_git.text("rev-parse", "--show-object-format")
    except WorkspaceError as error:
        as_owner = f"git runs as the folder's owner (user {owner.uid}), who must be able to reach it."
        hint = None if layout.owner_identity is None else as_owner
        raise EnvironmentInvalid(error.what, where=str(folder), hint=hint) from error
    return replace(layout, object_format=answer.strip())


async def list_tracked(folder: Path, environ: Mapping[str, str], paths: Sequence[str]) -> frozenset[str]:
    """Those of these paths that git tracks; without any path, all tracked files.

    Raises EnvironmentInvalid as `read_layout` does.
    """
    git = (await read_layout(folder, environ)).users_git
    # A path is a name here, and not a pattern: `*` in it must match nothing else.
    literal = replace(git, env={**git.env, "GIT_LITERAL_PATHSPECS": "1"})
    return frozenset(os.fsdecode(await literal.run("ls-files", "-z", "--", *paths)).split("\0")) - {""}


async def read_settings(layout: Layout) -> GitSettings:
    """The user's configuration, without anything that an agent could have written.

    A configuration may include a file of the code folder (`include.path = ../.gitconfig`), where an agent can
    write any setting: an identity to commit under, an excludes file that hides its traces. Leaving out the
    settings of that one file would not be enough: an included file can include others, outside of the folder
    too, and they are known only after git has read it. So if one include leads into the folder, no included
    file is read at all, and the user gets a notice.
    """
    home = _home_of(layout)

    async def list_settings(includes: bool) -> tuple[tuple[str, str, str], ...]:
        return await user_settings(
            layout.git_dir,
            layout.folder,
            home=home,
            environ=layout.environ,
            identity=layout.owner_identity,
            includes=includes,
        )

    plain = await list_settings(includes=False)
    into_folder = [entry for entry in plain if _is_include(entry[1]) and _points_into(layout, home, entry)]
    includes = any(_is_include(name) for _, name, _ in plain)
    entries = await list_settings(includes=True) if includes and not into_folder else plain
    outside = tuple(entry for entry in entries if not _is_within_reach(layout, layout.git_dir / entry[0]))
    # These settings name files that git reads or runs. Set outside, they may still point into the folder,
    # where an agent can write what they name.
    pointing = ("core.hookspath", "core.attributesfile", "core.excludesfile")
    into_folder += [entry for entry in outside if entry[1] in pointing and _points_into(layout, home, entry)]
    notices = tuple(f"{name} = {value} (set in {origin})" for origin, name, value in into_folder)
    return GitSettings(entries=outside, notices=notices)


def find_hooks_folder(layout: Layout, settings: GitSettings) -> str | None:
    """The folder from which the user's git starts hooks, relative to the code folder; None outside of it."""
    configured = settings.get("core.hookspath")
    if not configured:
        return None
    path = _expand(configured, _home_of(layout), layout.folder)
    for spelling in (Path(os.path.normpath(path)), path.resolve()):
        if spelling != layout.folder and spelling.is_relative_to(layout.folder):
            found = spelling.relative_to(layout.folder)
            # Husky has git start its own scripts in `.husky/_`, and these start the project's in `.husky`.
            return str(found.parent if found.name == "_" and found.parent.name else found)
    return None


def read_configured_patterns(layout: Layout, settings: GitSettings, *, setting: str, default: str) -> bytes:
    """The content of the user's own ignore or attributes file.

    `setting` is the git setting that names the file, such as `core.excludesFile`. Where it is not set, git
    reads `default` in the folder `git` of the user's configuration folder, and so does this function.
    """
    home = _home_of(layout)
    configured = settings.get(setting)
    if configured is not None:
        return _read_small_file(_expand(configured, home, layout.folder)) + b"\n"
    xdg = layout.environ.get("XDG_CONFIG_HOME")
    folder = Path(xdg) if xdg else (home or Path("/nonexistent")) / ".config"
    return _read_small_file(folder / "git" / default) + b"\n"


def read_repository_patterns(layout: Layout, name: str) -> bytes:
    """The content of the repository's own `info/exclude` or `info/attributes`."""
    return _read_small_file(layout.common_dir / "info" / name) + b"\n"


def check_settings(layout: Layout, settings: GitSettings) -> None:
    where = str(layout.folder)
    if settings.is_true("core.bare"):
        raise EnvironmentInvalid("the repository is bare", where=where, hint="Run from a checkout of it.")
    worktree = settings.get("core.worktree")
    if worktree is not None and (layout.git_dir / worktree).resolve() != layout.folder:
        raise EnvironmentInvalid(
            f"the repository's files are elsewhere ({worktree})",
            where=where,
            hint=f"Run in that folder: cd {worktree}",
        )
    if settings.is_true("core.sparsecheckout"):
        raise EnvironmentInvalid(
            "sparse checkouts are not supported yet", where=where, hint="Undo it: git sparse-checkout disable"
        )
    partial = [key for _, key, value in settings.entries if _is_of_partial_clone(key, value)]
    if partial:
        raise EnvironmentInvalid(
            f"partial clones are not supported yet ({partial[0]})",
            where=where,
            hint="Work in a full clone: git clone URL NEW-FOLDER",
        )


def check_out_of_reach(layout: Layout, repositories: Path) -> None:
    """Raises EnvironmentInvalid when a file that we trust is in the code folder.

    The folder is mounted into the agent's container, which can write all of it but `.git`: over that, the
    agent's own repository is mounted. A git directory, an object store or a state folder elsewhere in the
    code folder could be rewritten by the agent.
    """
    reachable = [
        path for path in (layout.common_dir, *layout.object_stores) if _is_within_reach(layout, path)
    ]
    if reachable:
        raise EnvironmentInvalid(
            "part of the repository is inside the code folder, where the agent could change it",
            where=str(reachable[0]),
            hint="Move it out of the code folder.",
        )
    if _is_within_reach(layout, repositories) or repositories.resolve().is_relative_to(layout.git_dir):
        raise EnvironmentInvalid(
            "the state folder is inside the code folder, where the agent could change it",
            where=str(repositories),
            hint="Set XDG_STATE_HOME to a folder outside of it.",
        )


def check_nothing_in_progress(layout: Layout) -> None:
    for name, (what, hint) in _IN_PROGRESS.items():
        if (layout.git_dir / name).exists():
            raise EnvironmentInvalid(
                f"{what} is in progress", where=str(layout.folder), hint=f"Finish it, or cancel it: {hint}"
            )


def _status_of(folder: Path) -> tuple[Path, os.stat_result]:
    try:
        folder = folder.resolve()
        status = folder.stat()
    except OSError as error:
        raise EnvironmentInvalid(
            f"the folder cannot be read: {error.strerror}", where=str(folder), hint="Name an existing folder."
        ) from error
    if not stat.S_ISDIR(status.st_mode):
        raise EnvironmentInvalid("this is not a folder", where=str(folder), hint="Name an existing folder.")
    return folder, status


def _find_git_dir(folder: Path) -> Path:
    entry = folder / ".git"
    try:
        mode = entry.lstat().st_mode
    except FileNotFoundError:
        raise _repository_error(folder) from None
    except OSError as error:
        raise EnvironmentInvalid(
            f".git cannot be read: {error.strerror}",
            where=str(folder),
            hint="Check the owner and the mode of the folder.",
        ) from error
    if stat.S_ISDIR(mode):
        return entry
    if not stat.S_ISREG(mode):
        raise EnvironmentInvalid(
            "a .git that is a link is not supported",
            where=str(entry),
            hint="Replace the link with the folder that it leads to, or clone the repository.",
        )
    content = os.fsdecode(_read_small_file(entry)).strip()
    if not content.startswith("gitdir: "):
        raise EnvironmentInvalid(
            "this is not a git repository",
            where=str(entry),
            hint="A .git file begins with `gitdir: `. Repair it, or clone the repository.",
        )
    git_dir = (folder / content.removeprefix("gitdir: ")).resolve()
    if not git_dir.is_dir():
        raise EnvironmentInvalid(
            f"its git directory {git_dir} does not exist", where=str(folder), hint="Try: git worktree repair"
        )
    return git_dir


def _repository_error(folder: Path) -> EnvironmentInvalid:
    for parent in folder.parents:
        if (parent / ".git").exists():
            return EnvironmentInvalid(
                "this is not the root of its repository", where=str(folder), hint=f"Its root is {parent}"
            )
    if (folder / "HEAD").is_file() and (folder / "objects").is_dir():
        return EnvironmentInvalid(
            "the repository is bare", where=str(folder), hint="Run from a checkout of it."
        )
    return EnvironmentInvalid(
        "this is not a git repository", where=str(folder), hint="Run `git init` and make a first commit."
    )


def _check_owner(folder: Path, git_dir: Path, owner: Identity) -> None:
    caller = os.geteuid()
    if caller not in (0, owner.uid):
        raise EnvironmentInvalid(
            f"the folder belongs to user {owner.uid}, not to you (user {caller})",
            where=str(folder),
            hint="Run as its owner, or from a folder of your own.",
        )
    keeper = git_dir.stat().st_uid
    if keeper != owner.uid:
        raise EnvironmentInvalid(
            f"the folder belongs to user {owner.uid}, its git directory to user {keeper}",
            where=str(git_dir),
            hint=f"Give it back to its owner: chown -R {owner.uid} {git_dir}",
        )


def _find_object_stores(objects: Path) -> tuple[Path, ...]:
    """All stores that an object can come from: `objects`, then those of `info/alternates`, and so on."""
    found: list[Path] = []
    waiting = [objects]
    while waiting:
        store = waiting.pop(0)
        if store in found or not store.is_dir():
            continue
        found.append(store)
        lines = os.fsdecode(_read_small_file(store / "info" / "alternates")).splitlines()
        waiting += [(store / line).resolve() for line in lines if line and not line.startswith("#")]
    return tuple(found)


def _home_of(layout: Layout) -> Path | None:
    try:
        return Path(layout.environ.get("HOME") or pwd.getpwuid(layout.owner.uid).pw_dir)
    except KeyError:
        return None


def _read_small_file(path: Path, limit: int = 1_000_000) -> bytes:
    """The content of a regular file; empty when it is absent, not regular or not readable. Never blocks."""
    try:
        with open_regular(path, follow=True) as file:
            return file.read(limit)
    except OSError:
        return b""


def _is_include(name: str) -> bool:
    return name == "include.path" or (name.startswith("includeif.") and name.endswith(".path"))


def _is_of_partial_clone(key: str, value: str) -> bool:
    promisor = key.startswith("remote.") and key.endswith(".promisor") and value.lower() != "false"
    return key == "extensions.partialclone" or promisor


def _points_into(layout: Layout, home: Path | None, entry: tuple[str, str, str]) -> bool:
    origin, name, value = entry
    base = (layout.git_dir / origin).parent if _is_include(name) else layout.folder
    return _is_within_reach(layout, _expand(value, home, base))


def _expand(value: str, home: Path | None, base: Path) -> Path:
    if value.startswith("~/"):
        return (home or Path("/nonexistent")) / value[2:]
    return base / value


def _is_within_reach(layout: Layout, path: Path) -> bool:
    """Whether an agent could write the file: it is in the code folder and not in its `.git`.

    Both spellings are checked. The agent can replace a link that is in the folder, wherever it leads now; and
    a path elsewhere may lead into the folder by a link.
    """
    shadowed = layout.folder / ".git"
    spellings: Sequence[Path] = (Path(os.path.normpath(path)), path.resolve())
    return any(
        spelling.is_relative_to(layout.folder) and not spelling.is_relative_to(shadowed)
        for spelling in spellings
    )
