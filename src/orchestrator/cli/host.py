"""The only module that looks up environment, current folder, engine and clock of this process."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.clock import SystemClock
from orchestrator.project.host import Host

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from orchestrator.agents.base import AgentDriver
    from orchestrator.containers.base import ContainerEngine
    from orchestrator.run.facts import Sleep


_instead: ContextVar[Host | None] = ContextVar("instead", default=None)


@contextmanager
def use_host(host: Host) -> Iterator[None]:
    """Inside, commands use this host: a test gives one whose engine is a fake."""
    token = _instead.set(host)
    try:
        yield
    finally:
        _instead.reset(token)


def this_host() -> Host:
    return _instead.get() or Host(
        environ=os.environ,
        folder=_current_folder(),
        connect_engine=_connect_engine,
        agent_driver=_agent_driver,
        clock=SystemClock(),
        keep_awake=_keep_awake,
        is_shutting_down=_is_shutting_down,
    )


def find_terminal_columns() -> int | None:
    """The columns of the terminal that standard output goes to; None if it goes elsewhere."""
    if not sys.stdout.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    try:
        return (
            int(columns) if columns.isdecimal() else os.get_terminal_size(sys.stdout.fileno()).columns or None
        )
    except OSError:
        return None


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


@asynccontextmanager
async def _connect_engine() -> "AsyncIterator[ContainerEngine]":
    from orchestrator.containers.engine import connect_engine

    async with await connect_engine() as engine:
        yield engine


def _keep_awake() -> "AbstractAsyncContextManager[Sleep]":
    from orchestrator.engine.keep_awake import keep_awake

    return keep_awake()


async def _is_shutting_down() -> bool:
    from orchestrator.engine.shutdown import is_shutting_down

    return await is_shutting_down()


def _agent_driver(name: str) -> "AgentDriver":
    from orchestrator.agents.registry import agent_driver

    return agent_driver(name)
