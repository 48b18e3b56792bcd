"""How long the command line takes to answer, as ratios to an interpreter that does nothing, in the same run.

A ratio is the median of pairs: the command, and right before it the interpreter. Compiled modules are kept,
as they are on a user's machine. `status` reads a journal with the given number of runs. No container
is started.
Run: python benchmarks/start_up.py [ROUNDS] [RUNS]
"""

import asyncio
import os
import statistics
import subprocess  # noqa: TID251 - the command is timed as a shell starts it
import sys
import tempfile
import time
from pathlib import Path

import orchestrator
from orchestrator.clock import SystemClock
from orchestrator.journal.journal import Journal
from orchestrator.run.facts import RunEnded, RunOptions, RunStarted, TaskEntry
from orchestrator.state_folder import open_state_folder

# What the installed script `orchestrator` does.
COMMAND = (sys.executable, "-c", "import sys; from orchestrator.cli.main import console; sys.exit(console())")
PLAN = "# A benchmark\n\n" + "".join(
    f"## Task 1.{number}: Write part {number}\n**Type:** CODING\n**Verify:**\n```bash\nmake test\n```\n\n"
    for number in range(20)
)
FLOOR = (sys.executable, "-c", "pass")


async def fill(environ: dict[str, str], folder: Path, runs: int) -> None:
    """A journal with so many runs of this folder, five tasks each."""
    journal = Journal.open(open_state_folder(environ).path / "journal.sqlite", SystemClock())
    tasks = tuple(TaskEntry(id=str(n), title=f"Task {n}", type="CODING", hash="h") for n in range(5))
    for number in range(runs):
        started = RunStarted(
            plan="plan.md",
            plan_title="A benchmark",
            folder=str(folder),
            branch="work",
            base="b",
            head="b",
            tasks=tasks,
            end_to_end=False,
            options=RunOptions(agent="nop"),
        )
        await journal.append(f"run-{number}", started)
        await journal.append(f"run-{number}", RunEnded(status="failed", exit_code=1))
    journal.close()


def seconds(argv: tuple[str, ...], environ: dict[str, str], folder: Path) -> float:
    begun = time.perf_counter()
    subprocess.run(
        argv, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - begun


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    with tempfile.TemporaryDirectory() as area:
        folder = Path(area) / "code"
        (folder / ".git").mkdir(parents=True)
        source = str(Path(orchestrator.__file__).parents[1])
        environ = {
            **os.environ,
            "XDG_STATE_HOME": f"{area}/state",
            "PYTHONPATH": source,
            "PYTHONPYCACHEPREFIX": f"{area}/compiled",
        }
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        asyncio.run(fill(environ, folder, runs))
        (folder / "plan.md").write_text(PLAN)
        commands = {
            "--help": (*COMMAND, "--help"),
            f"status, {runs} runs": (*COMMAND, "status"),
            "completion of a run id": (*COMMAND, "_complete", "runs", "status"),
            "completion of a plan's task": (*COMMAND, "_complete", "tasks", "undo", "plan.md"),
            "completion of a run's task": (*COMMAND, "_complete", "tasks", "undo", "run-0"),
        }
        print("containers started: 0")
        for name, argv in commands.items():
            seconds(argv, environ, folder)  # compiles
            pairs = [(seconds(FLOOR, environ, folder), seconds(argv, environ, folder)) for _ in range(rounds)]
            ratio = statistics.median(ours / floor for floor, ours in pairs)
            ours = statistics.median(ours for _, ours in pairs)
            print(
                f"orchestrator {name}: {ours * 1000:.0f} ms = {ratio:.1f} x `python -c pass` ({rounds} pairs)"
            )


if __name__ == "__main__":
    main()
