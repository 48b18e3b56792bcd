"""An outline says of a run's end and its tasks' ends what the whole state says."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from run_histories import RUN, Entry, begun

from orchestrator.clock import SystemClock
from orchestrator.journal.journal import Journal
from orchestrator.project.catalog import OUTLINE, RunCatalog
from orchestrator.run.facts import (
    BODIES,
    AgentText,
    PlanTaken,
    RunEnded,
    RunOptions,
    RunResumed,
    TaskEntry,
    TaskFinished,
    TaskStarted,
    UndoneTask,
    WorkUndone,
)

HISTORIES: dict[str, Sequence[Entry]] = {
    "begun": [begun("1", "2")],
    "ended": [
        begun("1", "2"),
        Entry(TaskStarted(title="one", parent="base0"), "1"),
        Entry(AgentText(text="Hello."), "1", 1),
        Entry(TaskFinished(status="completed", commit="c1"), "1"),
        Entry(TaskFinished(status="failed", reason="no"), "2"),
        Entry(RunEnded(status="failed", exit_code=1)),
    ],
    "resumed": [
        begun("1", "2"),
        Entry(TaskFinished(status="failed", reason="no"), "1"),
        Entry(RunEnded(status="failed", exit_code=1)),
        Entry(RunResumed(options=RunOptions(agent="nop"))),
    ],
    "edited": [
        begun("1", "2"),
        Entry(TaskFinished(status="completed", commit="c1"), "1"),
        Entry(
            PlanTaken(
                plan_title="Other",
                tasks=(TaskEntry(id="1", title="one", type=None, hash="other"),),
                end_to_end=False,
                stored="plan-2",
                redo=("1",),
            )
        ),
    ],
    "undone": [
        begun("1", "2"),
        Entry(TaskFinished(status="completed", commit="c1"), "1"),
        Entry(RunEnded(status="completed", exit_code=0)),
        Entry(WorkUndone(tasks=(UndoneTask(task="1", commit="c1"),))),
    ],
}


@pytest.mark.parametrize("name", HISTORIES)
def test_an_outline_agrees_with_the_state(tmp_path: Path, name: str) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite", SystemClock())

    async def remember() -> None:
        for entry in HISTORIES[name]:
            await journal.append(RUN, entry.body, task=entry.task, attempt=entry.attempt)

    asyncio.run(remember())
    catalog = RunCatalog(state=tmp_path, journal=journal, here=tmp_path, clock=SystemClock())
    state, (outline,) = catalog.run(RUN), catalog.outlines(Path("/code"))
    assert (outline.end, outline.undo, outline.start) == (state.end, state.undo, state.start)
    assert {id: (task.entry, task.finished) for id, task in outline.tasks.items()} == {
        id: (task.entry, task.finished) for id, task in state.tasks.items()
    }
    assert catalog.outlines(Path("/elsewhere")) == []
    journal.close()


SAYS_NOTHING_OF_AN_END = frozenset(
    {
        "agent_text", "agent_tool", "attempt_adopted", "attempt_ended", "attempt_started", "base_checked",
        "base_run_ended", "container_created", "container_started", "corner_checked", "stop_begun",
        "branch_ready", "cancel_wished", "candidate_made", "candidate_refused", "edits_committed",
        "end_to_end_ended", "gate_ended", "gate_started", "landing_refused", "landing_started",
        "lay_back_started", "limit_passed", "limit_seen", "names_reserved", "notice",
        "question_answered", "question_asked", "setup_ended", "setup_started",
        "set_aside_started", "still_running", "task_accepted", "task_started", "tree_laid_back",
        "tree_looked_at", "tree_saved", "tree_set_aside", "windows_seen",
    }
)  # fmt: skip


def test_each_kind_of_fact_is_in_an_outline_or_says_nothing_of_an_end() -> None:
    """A new kind has to be put in one of the two, or an outline would silently lack it."""
    assert SAYS_NOTHING_OF_AN_END | set(OUTLINE) == BODIES.keys()
    assert SAYS_NOTHING_OF_AN_END.isdisjoint(OUTLINE)
