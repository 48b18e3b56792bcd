"""Carry out an undo that the journal has announced; doing it again finishes one that was killed."""

from orchestrator.engine.run_journal import RunJournal
from orchestrator.run.facts import WorkUndone
from orchestrator.workspace.workspace import Workspace


async def carry_out_undo(workspace: Workspace, journal: RunJournal, untouched: frozenset[str]) -> None:
    """Bring branch, index and files back, then close the intent. Nothing when none is open."""
    undo = journal.state.undo
    if undo is None:
        return
    await workspace.bring_back(
        undo.target,
        branch=journal.state.start.branch,
        expected=undo.expected,
        saved=undo.saved,
        untouched=untouched,
    )
    journal.append(WorkUndone(tasks=undo.tasks))
