"""The cost of earlier runs at a start: the same `resume` with no history, and with many tasks of it.

Engine, agent and clock are fakes, so all the time is the orchestrator's and git's. The history is that of the
plan that is resumed, in the same repository: the worst case, because each of its tasks may have been done
before. Medians over ROUNDS of pairs. Run: python benchmarks/history.py [ROUNDS] [TASKS]
"""

import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from orchestrator.clock import SystemClock
from orchestrator.journal.journal import Facts, Journal
from orchestrator.run.facts import (
    AgentText,
    AttemptEnded,
    AttemptStarted,
    BranchReady,
    CandidateMade,
    RunEnded,
    RunOptions,
    RunStarted,
    TaskEntry,
    TaskFinished,
    TaskStarted,
)
from orchestrator.testing.agent import ScriptedAgent, exits, reports
from orchestrator.testing.project import PLAN, TemporaryProject

TASKS_OF_A_RUN = 40
TEXTS_OF_AN_ATTEMPT = 20


def failing_project(folder: Path, stack: ExitStack) -> tuple[TemporaryProject, str]:
    """A project, and its run that fails again whenever it is resumed."""
    folder.mkdir()
    agent = ScriptedAgent({("1", number): (reports("failed"), exits(1)) for number in range(1, 1000)})
    project = stack.enter_context(TemporaryProject(folder, agent=agent))
    return project, project.run().run


def remember(project: TemporaryProject, tasks: int) -> None:
    """Put completed runs with so many tasks into the journal."""
    journal = Journal.open(project.state / "journal.sqlite", SystemClock())
    head = project.git("rev-parse", "HEAD")

    async def store() -> None:
        for number in range(tasks // TASKS_OF_A_RUN):
            run = f"old-{number}"
            await journal.transact(lambda facts, run=run: store_run(facts, run, project, head))

    asyncio.run(store())
    journal.close()


def store_run(facts: Facts, run: str, project: TemporaryProject, head: str) -> None:
    ids = [str(number) for number in range(1, TASKS_OF_A_RUN + 1)]
    entries = tuple(TaskEntry(id=id, title=f"Task {id}", type="CODING", hash=f"hash {id}") for id in ids)
    started = RunStarted(
        plan=PLAN,
        plan_title="A trial",
        folder=str(project.folder),
        branch="work",
        base=head,
        head=head,
        tasks=entries,
        end_to_end=False,
        options=RunOptions(agent="command"),
    )
    facts.append(run, started)
    facts.append(run, BranchReady(branch="work", commit=head))
    for id in ids:
        store_task(facts, run, id, head)
    facts.append(run, RunEnded(status="completed", exit_code=0))


def store_task(facts: Facts, run: str, task: str, head: str) -> None:
    facts.append(run, TaskStarted(title=f"Task {task}", parent=head), task=task)
    started = AttemptStarted(
        container="c", folder=f"attempts/{task}/1", session="s", resumed=False, parent=head
    )
    facts.append(run, started, task=task, attempt=1)
    for number in range(TEXTS_OF_AN_ATTEMPT):
        facts.append(run, AgentText(text=f"I am at step {number}."), task=task, attempt=1)
    facts.append(run, AttemptEnded(status="completed", reason=None, exit_code=0), task=task, attempt=1)
    candidate = CandidateMade(commit=head, tree=head, parent=head, evidence=(), changed=True)
    facts.append(run, candidate, task=task, attempt=1)
    facts.append(run, TaskFinished(status="completed", commit=head), task=task)


def seconds(project: TemporaryProject, run: str) -> float:
    begun = time.perf_counter()
    project.resume(run)
    return time.perf_counter() - begun


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    tasks = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        without, with_history = (
            failing_project(Path(scratch, "without"), stack),
            failing_project(Path(scratch, "with"), stack),
        )
        remember(with_history[0], tasks)
        pairs = [(seconds(*without), seconds(*with_history)) for _ in range(rounds)]
    none, many = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"resume without history             {none:6.2f} s")
    print(f"resume with {tasks:6} tasks of history {many:6.2f} s")
    print(f"difference                         {statistics.median(b - a for a, b in pairs):6.2f} s")


if __name__ == "__main__":
    main()
