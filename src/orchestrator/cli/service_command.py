"""`service`: resume runs after a reboot, by a unit of systemd."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.host import this_host
from orchestrator.text import plain

if TYPE_CHECKING:
    from orchestrator.commands.service import ResumedRun

STOP_SECONDS = 80.0
"""How long a run may take to stop in order when the service is stopped; systemd kills it after 90 s."""


def add_service(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="write the unit instead of printing it")
    what.add_argument("--list", action="store_true", help="list the runs that it would resume now")
    what.add_argument("--resume", action="store_true", help="resume them now, as the unit does")
    parser.set_defaults(handler=service)


def service(arguments: argparse.Namespace) -> int:
    from orchestrator.commands.service import CREDENTIALS, build_unit, list_runs_to_resume, write_unit

    host = this_host()
    if arguments.list or arguments.resume:
        runs = list_runs_to_resume(host, _program())
        for each in runs:
            print(f"{each.run}  {plain(str(each.folder))}", flush=True)
        if not runs:
            print("No run was at work or waited when the machine stopped.", flush=True)
        return _resume(runs) if arguments.resume else 0
    text = build_unit(_program(), host.environ)
    for name in CREDENTIALS:
        if host.environ.get(name):
            print(
                f"warning: the service will not have the {name} of your shell. "
                f"Use credentials.command, {name}_FILE or the keyring.",
                file=sys.stderr,
            )
    if not arguments.write:
        print(text, end="")
        return 0
    path = write_unit(text, host.environ)
    print(f"Written: {plain(str(path))}")
    print("To turn it on, also for a machine to which you have not logged in yet:")
    print(f"systemctl --user daemon-reload && systemctl --user enable {path.name} && loginctl enable-linger")
    return 0


def _program() -> tuple[str, ...]:
    """The words that start this program, with any PATH."""
    installed = Path(sys.executable).with_name("orchestrator")
    if installed.exists():
        return (str(installed),)
    return (sys.executable, "-m", "orchestrator.cli.main")


def _resume(runs: "tuple[ResumedRun, ...]") -> int:
    """Resume the runs, and return the worst of their exit codes."""
    import asyncio

    from orchestrator.commands.service import resume_after_reboot
    from orchestrator.engine.stop_signals import cancel_on_signals
    from orchestrator.run.endings import worst_exit_code
    from orchestrator.subprocesses import run_attached

    async def start(each: "ResumedRun") -> int:
        return await run_attached(each.argv, cwd=each.folder, patience=STOP_SECONDS)

    async def resume_all() -> list[int]:
        with cancel_on_signals():
            return await resume_after_reboot(this_host(), runs, start)

    try:
        return worst_exit_code(asyncio.run(resume_all()))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
