"""The time until `resume` follows an adopted agent, and until it has taken the result of one that has ended.

Engine, agent and clock are fakes, so all the time is the orchestrator's and git's. `resume` is measured from
its call to its first fact of the attempt: `attempt_adopted`, or `attempt_ended`. Medians over ROUNDS, with so
many tasks of history of the same plan. Run: python benchmarks/adoption.py [ROUNDS] [TASKS]…
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from history import remember

from orchestrator.run.facts import AttemptAdopted, AttemptEnded, Fact
from orchestrator.testing.agent import ScriptedAgent, says, waits, works
from orchestrator.testing.processes import Process
from orchestrator.testing.project import TemporaryProject


def measure(folder: Path, tasks: int, *, ends: bool) -> float:
    """The seconds of one `resume`, whose agent is at work or has ended (`ends`)."""

    def lose_engine(_process: Process) -> None:
        project.engine.is_away = True

    steps = (waits(60), lose_engine, says("alone"), waits(600), says("here"), *works("1"))
    seen: list[float] = []

    def note(fact: Fact) -> None:
        if isinstance(fact.body, AttemptAdopted | AttemptEnded):
            seen.append(time.perf_counter())

    with TemporaryProject(folder, agent=ScriptedAgent({("1", 1): steps})) as project:
        run = project.run().run
        project.engine.is_away = False
        remember(project, tasks)
        if ends:
            project.do(project.clock.sleep(3600))
        begun = time.perf_counter()
        project.resume(run, listeners=(note,))
    return seen[0] - begun


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for tasks in map(int, sys.argv[2:] or ("0", "1000", "10000")):
        for ends in (False, True):
            taken = []
            for _ in range(rounds):
                with tempfile.TemporaryDirectory() as name:
                    folder = Path(name) / "project"
                    folder.mkdir()
                    taken.append(measure(folder, tasks, ends=ends))
            what = "result taken" if ends else "agent adopted"
            print(f"{tasks:>6} tasks of history, {what}: {statistics.median(taken):.2f} s")


if __name__ == "__main__":
    main()
