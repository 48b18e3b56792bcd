"""The only module that runs git on the host.

A folder that an agent wrote to, or a repository from elsewhere, can make git start programs: hooks, a
file-system monitor, filters, text converters, an ssh command, the transport of a lazy fetch. Each of them
would run on the host, outside of any container, as the user. Three walls stand against that:

- Every command gets an environment of our own. No GIT_* variable is inherited, and neither the system's nor
  the user's configuration is read.
- A repository's own configuration may still name programs, or include a file that does. All settings known to
  start one are overridden on the command line, which wins over every file.
- PATH is the caller's without the code folder, where an agent could have planted a `git` or an `ssh`.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.errors import EnvironmentInvalid, OrchestratorError, WorkspaceError
from orchestrator.subprocesses import Completed, Identity, ProcessTimeout, pipe, run, search_path
from orchestrator.text import shell_word

QUICK_SECONDS = 60.0
"""For commands that touch refs and configuration."""
TREE_SECONDS = 600.0
"""For commands that read files or pack objects."""
PATIENCE_SECONDS = 1.0
"""A command that is cancelled may still finish, and then remove its lock files, for this long each."""

_ENVIRONMENT = {
    "LC_ALL": "C",
    "LANGUAGE": "",
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",
    "SSH_ASKPASS": "false",
    "GIT_EDITOR": "false",
    "GIT_PAGER": "cat",
    # A replacement ref could show another tree for a commit than the one that its id stands for, and so to a
    # gate another candidate than the one that lands.
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    # An empty list allows no transport at all, and no `protocol.*` in a file overrides it; older versions of
    # git do not know GIT_NO_LAZY_FETCH.
    "GIT_ALLOW_PROTOCOL": "",
}
# `safe.directory` lets root work in the folders of other users; `folder.py` has checked who owns them. A
# background `gc` would outlive our command, hold locks in the repository, and run while an agent works. The
# other settings name a program, or let git start one.
_OVERRIDES = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.splitIndex=false",
    "core.pager=cat",
    "core.sshCommand=false",
    "core.gitProxy=false",
    "protocol.allow=never",
    "safe.directory=*",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "diff.external=",
    "commit.gpgSign=false",
    "log.showSignature=false",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """One repository and how git is started on it; every command is run by `run`, `try_run` or `stream`."""

    git_dir: Path
    folder: Path
    """The code folder: PATH leads to no program in it."""
    work_tree: Path | None = None
    identity: Identity | None = None
    """The user that the command runs as; None for the caller."""
    cwd: Path | None = None
    index: Path | None = None
    objects: Path | None = None
    """Where new objects are stored; None for the repository's own folder."""
    alternates: tuple[Path, ...] = ()
    config: tuple[str, ...] = ()
    """Further `name=value` overrides."""
    env: Mapping[str, str] = field(default_factory=dict)

    def with_index(self, index: Path) -> "Git":
        return replace(self, index=index)

    def argv(self, *args: str) -> tuple[str, ...]:
        settings = [word for entry in (*_OVERRIDES, *self.config) for word in ("-c", entry)]
        return ("git", *settings, *args)

    def environment(self) -> dict[str, str]:
        env = {**_ENVIRONMENT, "PATH": search_path(outside=self.folder), "GIT_DIR": str(self.git_dir)}
        if self.work_tree is not None:
            env["GIT_WORK_TREE"] = str(self.work_tree)
        if self.index is not None:
            env["GIT_INDEX_FILE"] = str(self.index)
        if self.objects is not None:
            env["GIT_OBJECT_DIRECTORY"] = str(self.objects)
        if self.alternates:
            env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = ":".join(map(_quote, self.alternates))
        return {**env, **self.env}

    async def try_run(
        self, *args: str, stdin: bytes | None = None, timeout: float = QUICK_SECONDS
    ) -> Completed:
        """Run to the end; a non-zero exit is a value. Raises WorkspaceError after `timeout` seconds."""
        try:
            return await run(
                self.argv(*args),
                timeout=timeout,
                env=self.environment(),
                cwd=self.cwd or self.work_tree,
                stdin=stdin,
                identity=self.identity,
                patience=PATIENCE_SECONDS,
            )
        except ProcessTimeout as error:
            raise self._too_slow(args) from error
        except OSError as error:
            raise _cannot_start(error) from error

    async def run(self, *args: str, stdin: bytes | None = None, timeout: float = QUICK_SECONDS) -> bytes:
        """Standard output of a command that must succeed. Raises WorkspaceError with git's own message."""
        done = await self.try_run(*args, stdin=stdin, timeout=timeout)
        if done.exit_code != 0:
            raise git_error(done, args[0], self.work_tree or self.git_dir)
        return done.stdout

    async def text(self, *args: str, stdin: bytes | None = None, timeout: float = QUICK_SECONDS) -> str:
        return os.fsdecode(await self.run(*args, stdin=stdin, timeout=timeout)).rstrip("\n")

    async def stream(
        self, args: Sequence[str], into: "Git", into_args: Sequence[str], *, stdin: bytes
    ) -> None:
        """`self args < stdin | into into_args`; WorkspaceError when either side fails."""
        try:
            first, second = await pipe(
                self.argv(*args),
                into.argv(*into_args),
                timeout=TREE_SECONDS,
                producer_env=self.environment(),
                consumer_env=into.environment(),
                producer_stdin=stdin,
                producer_identity=self.identity,
                consumer_identity=into.identity,
                cwd=self.cwd or self.work_tree,
            )
        except ProcessTimeout as error:
            raise self._too_slow(args) from error
        except OSError as error:
            raise _cannot_start(error) from error
        # When the consumer fails, the producer only reports a broken pipe, so the consumer's message comes
        # first.
        for done, name in ((second, into_args[0]), (first, args[0])):
            if done.exit_code != 0:
                raise git_error(done, name, into.objects or into.git_dir)

    def _too_slow(self, args: Sequence[str]) -> WorkspaceError:
        return WorkspaceError(
            f"git {args[0]} took too long and was killed",
            where=str(self.work_tree or self.git_dir),
            hint="Something in the folder may block reading (a pipe, a stale network mount).",
        )


def stash_command(kept: Collection[str]) -> str:
    """The command with which the user sets every change aside but these files, which git does not track."""
    if not kept:
        return "git stash -u"
    excluded = [shell_word(f":(exclude){path}") for path in sorted(kept)]
    return f"git stash push -u -- . {' '.join(excluded)}"


def git_error(done: Completed, command: str, where: Path) -> WorkspaceError:
    return WorkspaceError(f"git {command} failed: {failure_text(done)}", where=str(where))


def failure_text(done: Completed) -> str:
    """The first lines of git's own message about a failure."""
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[:6]) or f"exit {done.exit_code}"


async def user_settings(
    git_dir: Path,
    folder: Path,
    *,
    home: Path | None,
    environ: Mapping[str, str],
    identity: Identity | None,
    includes: bool,
) -> tuple[tuple[str, str, str], ...]:
    """Every setting as the user's own git sees it, in order: (origin file, name, value).

    Only `git config --list` runs, which starts no other program. `includes`: whether included files are read.
    Raises EnvironmentInvalid with git's own message when the configuration cannot be read.
    """
    env = {"PATH": search_path(outside=folder), "LC_ALL": "C", "GIT_DIR": str(git_dir)}
    env["HOME"] = str(home) if home is not None else "/nonexistent"
    kept = ("XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
    env |= {name: environ[name] for name in kept if name in environ}
    which = "--includes" if includes else "--no-includes"
    argv = ("git", "-c", "safe.directory=*", "config", "--list", "-z", "--show-origin", which)
    try:
        done = await run(argv, timeout=QUICK_SECONDS, env=env, cwd=git_dir, identity=identity)
    except ProcessTimeout as error:
        raise EnvironmentInvalid(
            "git config took too long and was killed",
            where=str(git_dir),
            hint="Check that the files of your git configuration are regular files on a disk that answers.",
        ) from error
    except OSError as error:
        raise _cannot_start(error) from error
    if done.exit_code != 0:
        raise EnvironmentInvalid(
            f"git cannot read its configuration: {failure_text(done)}",
            where=str(git_dir),
            hint="Repair the file that git names.",
        )
    fields = os.fsdecode(done.stdout).split("\0")
    found = []
    for origin, entry in zip(fields[::2], fields[1::2], strict=False):
        name, has_value, value = entry.partition("\n")
        # A name without a value (`[core] bare`) means true.
        found.append((origin.removeprefix("file:"), name, value if has_value else "true"))
    return tuple(found)


def _quote(path: Path) -> str:
    """A path for a list that is separated by colons, quoted as in C where it could be misread."""
    text = str(path)
    if ":" not in text and not text.startswith('"') and "\n" not in text:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _cannot_start(error: OSError) -> OrchestratorError:
    if isinstance(error, FileNotFoundError) and error.filename in ("git", b"git"):
        return EnvironmentInvalid("git is not installed", hint="Install git 2.39 or later and try again.")
    return WorkspaceError(
        f"the folder cannot be entered: {error.strerror}", where=os.fsdecode(error.filename)
    )
