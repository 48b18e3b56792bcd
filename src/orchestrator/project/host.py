"""Everything that a command knows about its caller.

The command line creates it; no code below the command line looks any of this up by itself.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from orchestrator.clock import Clock
from orchestrator.errors import EnvironmentInvalid

if TYPE_CHECKING:  # `status` talks to no engine
    from orchestrator.agents.base import AgentDriver
    from orchestrator.containers.base import ContainerEngine
    from orchestrator.run.facts import Sleep


async def is_never_shutting_down() -> bool:
    """The machine does not shut down."""
    return False


class Host(Struct, frozen=True, kw_only=True):
    environ: Mapping[str, str]
    folder: Path | None
    """The caller's current folder; None when that folder is gone."""
    connect_engine: "Callable[[], AbstractAsyncContextManager[ContainerEngine]]"
    """Connects on entering, and closes the connection on leaving. Entering raises CannotStart."""
    agent_driver: "Callable[[str], AgentDriver]"
    """The driver of this name. Raises UsageError."""
    clock: Clock
    keep_awake: "Callable[[], AbstractAsyncContextManager[Sleep]]" = lambda: nullcontext("no_program")
    """Keeps the machine awake between entering and leaving, and says whether it can; by default it cannot."""
    is_shutting_down: "Callable[[], Awaitable[bool]]" = is_never_shutting_down
    """Whether the machine shuts down; by default it does not."""

    def current_folder(self) -> Path:
        """Raises EnvironmentInvalid when it is gone."""
        if self.folder is None:
            raise EnvironmentInvalid(
                "the current folder no longer exists", hint="Change to a folder that exists: cd FOLDER"
            )
        return self.folder

    def code_folder(self) -> Path:
        """The current folder. Raises EnvironmentInvalid when it is not the root of a repository."""
        folder = self.current_folder()
        if not os.path.lexists(folder / ".git"):
            root = _find_root(folder.parents)
            hint = "Create a repository: git init && git add -A && git commit -m 'start'"
            if root is not None:
                hint = f"Change to the root: cd {root}"
            raise EnvironmentInvalid("not the root of a git repository", where=str(folder), hint=hint)
        return folder

    def repository_folder(self) -> Path | None:
        """The root of the repository that holds the current folder; None outside of a repository."""
        if self.folder is None:
            return None
        return _find_root((self.folder, *self.folder.parents))


def _find_root(folders: Iterable[Path]) -> Path | None:
    return next((folder for folder in folders if os.path.lexists(folder / ".git")), None)
