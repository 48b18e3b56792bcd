"""A folder of files and the index that belongs to it, as our own repository sees them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.workspace.git import Git
from orchestrator.workspace.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """Git reads files and index of a checkout in our repository, never in the checkout's own.

    The checkout's own configuration could make git run programs on files that an agent wrote; and a command
    that refreshes the index must not change the one that the user's git works with.
    """

    store: Store
    folder: Path
    git_dir: Path
    """Holds the index; nothing else of it is read."""

    @property
    def git(self) -> Git:
        return replace(self.store.git, work_tree=self.folder)

    @contextmanager
    def index_copy(self) -> Iterator[Git]:
        """Git with a private copy of the index, flags and stat data included.

        The copy keeps the original's time: git compares it with the times of files to know which entries may
        have changed unseen.
        """
        with self.store.scratch_index() as index:
            source = self.git_dir / "index"
            if source.exists():
                shutil.copy2(source, index)
                for part in self.git_dir.glob("sharedindex.*"):
                    shutil.copy2(part, self.store.git_dir / part.name)
            yield self.git.with_index(index)
