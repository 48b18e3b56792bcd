"""Locks that die with their process: `flock` on the code folder's git directory, and on a file of a run.

Ownership is the lock itself. The holder is recorded next to it for error messages only. No decision depends
on that record: a process id can be reused, a lock cannot.
"""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from orchestrator.clock import Clock
from orchestrator.errors import FolderBusy
from orchestrator.files import open_entry, open_folder, open_own
from orchestrator.text import utc_text


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    run: str | None
    pid: int
    host: str
    since: str
    """ISO 8601, UTC, milliseconds."""


class FolderLock:
    """The right to change a code folder, held until `release` or the end of the process."""

    def __init__(self, descriptor: int, holder_file: Path, *, follows_kill: bool) -> None:
        self._descriptor = descriptor
        self._holder_file = holder_file
        self.follows_kill = follows_kill
        """Whether the holder before was killed, so that something of it may be left in the folder."""

    @classmethod
    def take(cls, git_dir: Path, holder_file: Path, clock: Clock, *, run: str) -> "FolderLock":
        """Take it at once or raise FolderBusy with the run and process that hold it.

        `holder_file` is in the state folder; a holder with another state folder is named by its process only.
        """
        # The lock is on the git directory itself. An agent could delete a lock file in the code folder, and a
        # run with another state folder would not see one in ours.
        descriptor = open_folder(git_dir)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = _busy_error(git_dir, descriptor, holder_file)
            os.close(descriptor)
            raise busy from None
        except BaseException:
            os.close(descriptor)
            raise
        holder_file.parent.mkdir(parents=True, exist_ok=True)
        follows_kill = holder_file.exists()
        # In place: only the holder writes, and those who read half a record name its process all the same.
        holder_file.write_bytes(_record(run, clock))
        return cls(descriptor, holder_file, follows_kill=follows_kill)

    def release(self) -> None:
        if self._descriptor >= 0:
            # While the lock is still held: a moment later the file could be the next holder's record.
            self._holder_file.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class RunLock:
    """The right to write a run's state. The file names the holder, as JSON {pid, host, since}."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path, clock: Clock) -> "RunLock | None":
        """Take it at once, or None when another process holds it."""
        descriptor = open_own(path)
        if not _try_flock(descriptor):
            os.close(descriptor)
            return None
        if not path.exists() or not os.path.samestat(path.stat(), os.fstat(descriptor)):
            # Another process took the folder for a leftover after the file was opened, and has removed it.
            os.close(descriptor)
            path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            return cls.take(path, clock)
        # Written in place and not by rename: the lock is on this file, and a new file would not be locked.
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _record(None, clock), 0)
        return cls(descriptor)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @staticmethod
    def holder(path: Path, clock: Clock) -> Holder | None:
        """The present holder, or None. Creates nothing, and does not disturb a taken lock."""
        try:
            descriptor = open_entry(path)
        except OSError:
            return None
        try:
            # The file of a killed owner still names that owner: only the lock says whether one is alive. A
            # shared lock, so that two processes which ask at the same time do not see each other as owners.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            # The lock is taken before the file is written, so for a moment a living holder has no record.
            return _parse_holder(os.pread(descriptor, 4096, 0)) or _holder_without_record(descriptor, clock)
        finally:
            os.close(descriptor)


def _try_flock(descriptor: int) -> bool:
    """Take the lock, with a few tries: `RunLock.holder` holds a shared lock for an instant when it asks."""
    for _ in range(5):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            # Real time, and blocking: the other process needs no more than an instant.
            time.sleep(0.01)
    return False


def _busy_error(git_dir: Path, descriptor: int, holder_file: Path) -> FolderBusy:
    try:
        holder = _parse_holder(holder_file.read_bytes())
    except OSError:
        holder = None
    pid = _find_lock_pid(descriptor)
    if holder is not None and pid in (None, holder.pid):
        who = f"run {holder.run} (process {holder.pid})"
        hint = f"Wait for it, or stop it: orchestrator cancel {holder.run}"
    else:
        who = f"a run of another state folder (process {pid})" if pid else "another process"
        hint = "Wait until it has ended, or cancel it with the XDG_STATE_HOME that it was started with."
    return FolderBusy(f"{who} is at work in this folder", where=str(git_dir), hint=hint)


def _record(run: str | None, clock: Clock) -> bytes:
    holder = Holder(run=run, pid=os.getpid(), host=os.uname().nodename, since=utc_text(clock.now()))
    return msgspec.json.encode(holder)


def _parse_holder(content: bytes) -> Holder | None:
    try:
        return msgspec.json.decode(content, type=Holder)
    except ValueError:
        return None


def _holder_without_record(descriptor: int, clock: Clock) -> Holder:
    """A holder that has taken the lock and not recorded itself yet."""
    pid = _find_lock_pid(descriptor)
    return Holder(run=None, pid=pid or 0, host=os.uname().nodename, since=utc_text(clock.now()))


def _find_lock_pid(descriptor: int) -> int | None:
    """The process that took the lock, from /proc/locks; None where the kernel does not list it."""
    # By device and inode, not by name: another state folder may have a lock file of the same name.
    status = os.fstat(descriptor)
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if "FLOCK" in fields and "->" not in fields and wanted in fields:
            return int(fields[4])
    return None
