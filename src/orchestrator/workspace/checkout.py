"""A folder of files and the index that belongs to it, read by git from within our own repository."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.workspace.git import Git
from orchestrator.workspace.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """Files and index of a checkout, read by git from within our repository.

    Git never runs in the checkout's own repository for this. Its configuration can name programs, which git
    would run on files that an agent wrote. And many commands refresh the index that they read, which must not
    happen to the index that the user's git is working with. So git gets our configuration and a copy of the
    index.
    """

    store: Store
    folder: Path
    git_dir: Path
    """Where the index is; nothing else in it is read."""
    wanted: frozenset[str] = frozenset()
    """Paths that are work also where they are named like scratch (see `scratch.py`)."""

    @property
    def git(self) -> Git:
        return replace(self.store.git, work_tree=self.folder)

    @contextmanager
    def copy_index(self) -> Iterator[Git]:
        """Git with a private copy of the index, with flags and stat data.

        The copy keeps the original's time. Git compares that time with the times of files: an entry whose
        file is as new as the index is read again, because its content may have changed without a new time.
        """
        with self.store.scratch_index() as index:
            source = self.git_dir / "index"
            if source.exists():
                shutil.copy2(source, index)
                for part in self.git_dir.glob("sharedindex.*"):
                    shutil.copy2(part, self.store.git_dir / part.name)
            yield self.git.with_index(index)
