"""A terminal that is closed at each phase of a run: the run stops in order, and `resume` finishes it."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.commands.request import RunRequest, StartOptions
from orchestrator.commands.run import run
from orchestrator.engine.stop_signals import cancel_on_signals
from orchestrator.project.records import open_records
from orchestrator.run.facts import Fact, RunEnded
from orchestrator.run.report import RunReport
from orchestrator.testing.agent import ScriptedAgent, hits_limit, works
from orchestrator.testing.clock import START
from orchestrator.testing.processes import Process
from orchestrator.testing.project import PLAN, TemporaryProject

FACTS = ("run_started", "branch_ready", "landing_started", "run_waiting")
CONTAINERS = ("in setup", "in a check on the base", "in an attempt", "in a gate")


class Terminal:
    """Is closed once, at the phase that a test chooses."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.is_open = True

    def listen(self, fact: Fact) -> None:
        if fact.body.kind == self.phase:
            self.close()

    async def close_in(self, phase: str, process: Process) -> None:
        """Close it in a container, which is at work for a minute afterwards."""
        if phase == self.phase and self.is_open:
            self.close()
            await process.clock.sleep(60)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            os.kill(os.getpid(), signal.SIGHUP)


def open_project(folder: Path, terminal: Terminal) -> TemporaryProject:
    """Two tasks, of which the second one meets a limit first."""

    async def sets_up(process: Process) -> None:
        await terminal.close_in("in setup", process)

    async def check(process: Process) -> int:
        is_done = process.path("task-1.txt").exists()
        await terminal.close_in("in a gate" if is_done else "in a check on the base", process)
        return 0 if is_done else 1

    async def work(process: Process) -> None:
        await terminal.close_in("in an attempt", process)

    limit = hits_limit("usage_limit", START.timestamp() + 300)
    return TemporaryProject(
        folder,
        tasks=("1", "2"),
        agent=ScriptedAgent({("1", 1): (work, *works("1")), ("2", 1): (limit,)}),
        gates={"make setup": sets_up, "check 1": check},
        settings="[setup]\ncommands = ['make setup']\n",
    )


async def as_the_command_does(command: Coroutine[Any, Any, RunReport]) -> RunReport:
    with cancel_on_signals():
        return await command


def find_end(project: TemporaryProject) -> RunEnded:
    with open_records(project.host) as records:
        end = records.catalog.find(PLAN).end
    assert end is not None
    return end


@pytest.mark.parametrize("phase", [*FACTS, *CONTAINERS])
def test_the_run_stops_in_order_and_can_be_resumed(tmp_path: Path, phase: str) -> None:
    terminal = Terminal(phase)
    with open_project(tmp_path, terminal) as project:
        options = StartOptions(agent="command", wait=True, listeners=(terminal.listen,))
        with suppress(asyncio.CancelledError):
            project.do(as_the_command_does(run(project.host, RunRequest(plan=PLAN, options=options))))
        assert not terminal.is_open
        end = find_end(project)
        assert (end.status, end.exit_code) == ("interrupted", 130)
        assert project.do(project.engine.list({})) == ()

        resumed = project.resume(wait=True)
        assert (resumed.status, resumed.exit_code) == ("completed", 0)
        assert project.git("log", "--format=%s", "main..work").split("\n") == [
            "2: Write task-2.txt",
            "1: Write task-1.txt",
        ]
        assert project.git("status", "--porcelain") == ""
