"""Commands of a TemporaryProject in a process of their own, which is killed at a chosen instant.

The process is a fork, and its containers are restored afterwards, as an engine keeps them.
"""

import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.commands.request import RunRequest, StartOptions
from orchestrator.commands.run import run
from orchestrator.journal.journal import Facts
from orchestrator.run.facts import Body, Listener
from orchestrator.run.report import RunReport
from orchestrator.testing.clock import run_in_fake_time
from orchestrator.testing.project import PLAN, TemporaryProject

Kill = Callable[[], NoReturn]
Arrange = Callable[[Kill], tuple[Listener, ...]]
"""Called in the fork: it sees to it that the process is killed, and gives the listeners of the run."""

EFFECTS = frozenset(
    {
        *("os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.link", "os.symlink", "os.chmod", "os.chown"),
        *("os.truncate", "os.utime", "subprocess.Popen"),
    }
)
"""The audit events of what a process changes outside of itself, besides the files that it writes."""


def run_and_kill(project: TemporaryProject, arrange: Arrange, settings: tuple[str, ...] = ()) -> bool:
    """Run in a fork that dies as by `kill -9` and leaves its containers; False if the run ended before."""
    left = project.folder.parent / "left-containers"
    child = os.fork()
    if child == 0:
        _run_in_fork(project, arrange, settings, left)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), f"the command ended with {code}"
    project.do(project.engine.restore(pickle.loads(left.read_bytes())))
    return code != 0


def _run_in_fork(
    project: TemporaryProject, arrange: Arrange, settings: tuple[str, ...], left: Path
) -> NoReturn:
    def store_containers() -> None:
        left.write_bytes(pickle.dumps(project.engine.list_left()))

    def kill() -> NoReturn:
        store_containers()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("a killed process does not continue")

    async def carry_out() -> RunReport:
        # Once more, in this loop: the tasks of containers belong to the loop of the process before.
        await project.engine.restore(project.engine.list_left())
        options = StartOptions(agent="command", config=settings, listeners=arrange(kill))
        return await run(project.host, RunRequest(plan=PLAN, options=options))

    code = 70
    try:
        code = run_in_fake_time(project.clock, carry_out()).exit_code
        store_containers()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def before_fact(task: str | None, kind: str) -> Arrange:
    """Kill just before the first fact of this kind and task is stored: only its effect is there."""

    def arrange(kill: Kill) -> tuple[Listener, ...]:
        append = Facts.append

        def append_or_kill(self: Facts, run: str, body: Body, **about: Any) -> Any:
            if (about.get("task"), body.kind) == (task, kind):
                kill()
            return append(self, run, body, **about)

        Facts.append = append_or_kill  # type: ignore[method-assign]
        return ()

    return arrange


def after_fact(task: str | None, kind: str) -> Arrange:
    """Kill once the first fact of this kind and task is stored."""

    def arrange(kill: Kill) -> tuple[Listener, ...]:
        return (lambda fact: kill() if (fact.task, fact.body.kind) == (task, kind) else None,)

    return arrange


def before_effect(number: int) -> Arrange:
    """Kill just before the command's effect of this number: a fact, a changed file, or a process."""

    def arrange(kill: Kill) -> tuple[Listener, ...]:
        lock, left = threading.Lock(), number

        def count() -> None:
            nonlocal left
            with lock:
                left -= 1
                if left == 0:
                    kill()

        append = Facts.append

        def append_or_kill(self: Facts, run: str, body: Body, **about: Any) -> Any:
            count()
            return append(self, run, body, **about)

        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            if left > 0 and (event in EFFECTS or (event == "open" and _is_writing(arguments))):
                count()

        Facts.append = append_or_kill  # type: ignore[method-assign]
        sys.addaudithook(audit)
        return ()

    return arrange


def _is_writing(arguments: tuple[Any, ...]) -> bool:
    path, mode, flags = arguments
    if isinstance(mode, str):
        return mode.strip("bt") != "r"
    return isinstance(flags, int) and flags & os.O_ACCMODE != os.O_RDONLY and path != os.devnull
