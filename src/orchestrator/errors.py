"""Errors that are reported to the user: each says what happened, where, and what to do next.

    OrchestratorError            exit code
    ├─ UsageError                2   the command line, or what it names
    ├─ PlanError                 2   the plan cannot be read
    ├─ ConfigurationError        2   a setting is unknown, of the wrong type, or needs trust
    ├─ EnvironmentInvalid        2   folder, repository, engine, image or credential cannot be used
    │  ├─ FolderBusy             2   another run holds the code folder
    │  ├─ SetupFailed            2   the project's dependencies cannot be installed (4 once there is work)
    │  └─ CannotStart            2   no engine, no image, or a folder that cannot be mounted
    ├─ CodingAgentError          4   the container engine failed, in its own words
    │  ├─ CannotStart            2   (the same class: one `except` catches all failures of a container)
    │  └─ CodingAgentTimeout     4   a command in a container took longer than it may
    ├─ WorkspaceError            4   git or the folder changed under a run; nothing was delivered
    └─ StorageError              4   a disk is full, read-only or failing

Any other exception is a bug of the orchestrator: exit code 70 and a report to paste.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal


class OrchestratorError(Exception):
    """Base of all expected failures.

    `what` is one sentence, `where` a file, folder or setting, `hint` the next step for the user; by default
    that of the class.
    """

    exit_code: ClassVar[int] = 70
    usual_hint: ClassVar[str | None] = None

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint if hint is not None else self.usual_hint

    @property
    def statement(self) -> str:
        """The error in one sentence with its place, without the next step."""
        return self.what if self.where is None else f"{self.where}: {self.what}"

    def __str__(self) -> str:
        return self.statement if self.hint is None else f"{self.statement}\n{self.hint}"


class UsageError(OrchestratorError):
    exit_code = 2


class PlanError(OrchestratorError):
    exit_code = 2


class ConfigurationError(OrchestratorError):
    exit_code = 2


class EnvironmentInvalid(OrchestratorError):
    exit_code = 2


class FolderBusy(EnvironmentInvalid):
    """Another run holds the code folder; the message names it by run id and process id."""


class SetupFailed(EnvironmentInvalid):
    """A setup command failed, or its result cannot be used by gates; `what` has the end of its output."""


class CodingAgentError(OrchestratorError):
    """The container engine refused or failed; `what` is its own message."""

    exit_code = 4
    usual_hint = "To check the container engine: orchestrator doctor --check engine"


class CodingAgentTimeout(CodingAgentError):
    """A command in a container took longer than its time-out and was killed.

    `stdout` and `stderr` hold its output until then.
    """

    usual_hint = "Raise the time limit, or find out what the command waits for."

    stdout: str = ""
    stderr: str = ""


class CannotStart(EnvironmentInvalid, CodingAgentError):
    """A container was not started, because the engine, the image or the folder cannot be used."""

    exit_code = 2


class WorkspaceError(OrchestratorError):
    """The repository or the folder has changed during the run, or git refused; nothing was delivered."""

    exit_code = 4
    usual_hint = "Nothing was added to your branch. To check the repository: git status, git fsck"


FREE_SPACE = (
    "Free some space on the disk of the state folder and of the code folder, then: orchestrator resume"
)


class StorageError(OrchestratorError):
    """A file of the orchestrator cannot be written: the disk is full, read-only or failing."""

    exit_code = 4

    fault: Literal["disk_full", "journal_unwritable"] | None = None
    """The cause as one word, where it is known."""


@contextmanager
def convert_storage_errors() -> Iterator[None]:
    """Turns an OSError that the disk caused into a StorageError; other errors are raised unchanged."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            raise
        what = "a file" if error.filename is None else error.filename
        storage = StorageError(f"{what} cannot be written: {error.strerror}", hint=FREE_SPACE)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            storage.fault = "disk_full"
        raise storage from error
