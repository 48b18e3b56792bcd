"""How long the command line takes to answer, as ratios to an interpreter that does nothing, in the same run.

The commands alternate, so that what else the machine does weighs on all. `status` reads a journal with as
many runs as said. No container is started.
Run: python benchmarks/start_up.py [ROUNDS] [RUNS]
"""

import os
import statistics
import subprocess  # noqa: TID251 - the command is timed as a shell starts it
import sys
import tempfile
import time
from pathlib import Path

import orchestrator
from orchestrator.journal.journal import Journal
from orchestrator.run.facts import RunEnded, RunOptions, RunStarted, TaskEntry
from orchestrator.state_folder import open_state_folder

COMMAND = (sys.executable, "-m", "orchestrator.cli.main")
FLOOR = (sys.executable, "-c", "pass")


def fill(environ: dict[str, str], folder: Path, runs: int) -> None:
    """A journal with so many runs of this folder, five tasks each."""
    journal = Journal.open(open_state_folder(environ).path / "journal.sqlite")
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
        journal.append(f"run-{number}", started)
        journal.append(f"run-{number}", RunEnded(status="failed", exit_code=1))
    journal.close()


def seconds(argv: tuple[str, ...], environ: dict[str, str], folder: Path) -> float:
    begun = time.perf_counter()
    subprocess.run(argv, cwd=folder, env=environ, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    with tempfile.TemporaryDirectory() as area:
        folder = Path(area) / "code"
        folder.mkdir()
        source = str(Path(orchestrator.__file__).parents[1])
        environ = {**os.environ, "XDG_STATE_HOME": f"{area}/state", "PYTHONPATH": source}
        fill(environ, folder, runs)
        commands = {
            "python -c pass": FLOOR,
            "orchestrator --help": (*COMMAND, "--help"),
            f"orchestrator status, {runs} runs": (*COMMAND, "status"),
        }
        samples: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, argv in commands.items():
                samples[name].append(seconds(argv, environ, folder))
    floor = statistics.median(samples["python -c pass"])
    print("containers started: 0")
    for name, values in samples.items():
        middle = statistics.median(values)
        print(f"{name}: {middle * 1000:.0f} ms (median of {rounds}) = {middle / floor:.1f} x the floor")


if __name__ == "__main__":
    main()
