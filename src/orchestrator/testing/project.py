"""A project in one call: a real repository, a plan and a state folder, for runs with the fakes."""

import json
import os
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from orchestrator import subprocesses
from orchestrator.clock import SystemClock
from orchestrator.commands.cancel import cancel
from orchestrator.commands.request import ResumeRequest, RunRequest, StartOptions
from orchestrator.commands.resume import resume
from orchestrator.commands.run import run
from orchestrator.commands.undo import UndoRequest, UndoResult, abandon, undo
from orchestrator.config import REPOSITORY_FILE
from orchestrator.containers.base import ContainerEngine
from orchestrator.engine.setup_overlays import PROBE_COMMAND
from orchestrator.gates import setup_tree
from orchestrator.journal.journal import Journal
from orchestrator.project.host import Host
from orchestrator.run.facts import Fact
from orchestrator.run.report import RunReport
from orchestrator.testing.agent import ScriptedAgent
from orchestrator.testing.clock import FakeClock, fake_time_runner
from orchestrator.testing.engine import FakeEngine
from orchestrator.testing.processes import Process, Program, Scripts

T = TypeVar("T")

PLAN = "plan.md"
GIT_SECONDS = 60.0


def file_exists(path: str) -> Program:
    """A gate that passes when the candidate has this file."""
    return lambda process: 0 if process.path(path).exists() else 1


class TemporaryProject:
    """Git, journal and workspace are real; engine, clock and agent are fakes, and no time passes.

    with TemporaryProject(tmp_path, agent=ScriptedAgent({("1", 1): [exits(1)]})) as project:
        report = project.run()

    Each task has one gate, `check TASK`, which passes when the file exists that an agent with the script
    `works` writes. `gates` adds or replaces gates and setup commands, by the text of their block.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tasks: Sequence[str] = ("1",),
        plan: str | None = None,
        agent: ScriptedAgent | None = None,
        gates: Mapping[str, Program] | None = None,
        settings: str = "",
        shows_layers: bool = True,
    ) -> None:
        """`folder` must be empty; `plan` replaces the plan made of `tasks`; `settings` is TOML."""
        self.folder = folder / "code"
        self.clock = FakeClock()
        self._runner = fake_time_runner(self.clock)
        self.agent = agent or ScriptedAgent()
        programs: dict[str, Program] = {f"check {task}": file_exists(f"task-{task}.txt") for task in tasks}
        programs |= {self.agent.name: self.agent, **_SETUP_PROGRAMS, **(gates or {})}
        self.engine = FakeEngine(
            folder / "engine", Scripts(programs), clock=self.clock, shows_layers=shows_layers
        )
        self.environ = {
            "PATH": os.environ["PATH"],  # where git is
            "HOME": str(folder / "home"),
            "XDG_STATE_HOME": str(folder / "state"),
        }
        for new in (self.folder, folder / "home"):
            new.mkdir()
        (self.folder / PLAN).write_text(plan_of(tasks) if plan is None else plan)
        (self.folder / REPOSITORY_FILE).write_text(settings)
        for words in (
            ("init", "-q", "-b", "main"),
            ("config", "user.name", "Ada"),
            ("config", "user.email", "ada@example.org"),
            ("add", "-A"),
            ("commit", "-q", "-m", "start"),
        ):
            self.git(*words)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.close()

    @property
    def host(self) -> Host:
        return Host(
            environ=self.environ,
            folder=self.folder,
            connect_engine=self._connect,
            clock=self.clock,
            agent_driver=lambda name: self.agent,
        )

    def run(self, **options: Any) -> RunReport:
        """As `orchestrator run`; the options are the fields of RunRequest and StartOptions."""
        names = ("plan", "only", "first", "new", "only_base")
        selection = {"plan": PLAN} | {name: options.pop(name) for name in names if name in options}
        return self.do(run(self.host, RunRequest(**selection, options=_start_options(options))))

    def resume(self, wanted: str | None = None, **options: Any) -> RunReport:
        accept = options.pop("accept", ())
        request = ResumeRequest(run=wanted, accept=accept, options=_start_options(options))
        return self.do(resume(self.host, request))

    def cancel(self) -> object:
        return self.do(cancel(self.host, PLAN))

    def abandon(self) -> UndoResult | None:
        return self.do(abandon(self.host, PLAN))

    def undo(self, task: str) -> UndoResult:
        return self.do(undo(self.host, UndoRequest(run=PLAN, task=task)))

    def do(self, command: Coroutine[Any, Any, T]) -> T:
        """Carry out a command in fake time; containers that it leaves continue with the next command."""
        return self._runner.run(command)

    def git(self, *words: str) -> str:
        """The output of a git command; raises RuntimeError when it fails."""
        argv = ("git", *words)
        done = self.do(subprocesses.run(argv, timeout=GIT_SECONDS, env=self.environ, cwd=self.folder))
        if done.exit_code != 0:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.decode()}")
        return done.stdout.decode().rstrip("\n")

    @property
    def state(self) -> Path:
        return Path(self.environ["XDG_STATE_HOME"]) / "ktrdr-orchestrator"

    def facts(self, run: str) -> Sequence[Fact]:
        """All facts of a run, oldest first."""
        journal = Journal.open(self.state / "journal.sqlite", SystemClock())
        try:
            return journal.facts(run)
        finally:
            journal.close()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[ContainerEngine]:
        yield self.engine


def _inspect_tree(process: Process) -> None:
    """Do what setup does in its container before and after its commands, on the container's files."""
    root = str(process.path("/workspace"))
    found: object = setup_tree.record(root)
    if process.argv[-1] != "record":
        found = setup_tree.conclude(root, json.loads(process.stdin or b""), system=root)
    process.print(json.dumps(found))


_SETUP_PROGRAMS: Mapping[str, Program] = {
    "/usr/bin/python3": _inspect_tree,
    PROBE_COMMAND[2]: lambda process: process.path(f"{process.argv[-1]}/.ktrdr-probe").mkdir(),
    'printf %s "$PATH"': lambda process: process.print("/usr/bin"),
}


def plan_of(tasks: Sequence[str]) -> str:
    """A plan in which each task has the gate `check TASK`."""
    return "# Milestone 1: A trial\n\n**Branch:** `work`\n\n" + "\n".join(map(_task, tasks))


def _task(task: str) -> str:
    return f"""\
## Task {task}: Write task-{task}.txt
**Type:** CODING
**Description:**
What the title says.
**Acceptance Criteria:**
- [ ] the file is there
**Verify:**
```bash
check {task}
```
"""


def _start_options(options: Mapping[str, Any]) -> StartOptions:
    return StartOptions(**{"agent": "command", **options})
