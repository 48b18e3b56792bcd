"""Finds results that other runs on the same folder got for their base within the last day."""

from datetime import datetime, timedelta

from orchestrator.engine.context import EarlierResult
from orchestrator.project.project import Project
from orchestrator.run.facts import BaseChecked
from orchestrator.run.state import RunState
from orchestrator.text import utc_text

OLDEST = timedelta(days=1)
MOST_RUNS = 100
"""The newest ones; a result of an older run is found again by running its command."""


def find_earlier_results(project: Project, state: RunState) -> dict[str, EarlierResult]:
    """The newest result for each key; empty when the run has checked its base already."""
    if state.base_checked:
        return {}
    outlines = project.catalog.outlines(project.folder, tasks=())[:MOST_RUNS]
    runs = [record.run for record in outlines if record.run != state.run]
    after = utc_text(project.host.clock.now() - OLDEST)
    found: dict[str, EarlierResult] = {}
    for fact in project.journal.facts_of_kinds(runs, [BaseChecked.kind]):
        body = fact.body
        # A result that was itself taken over is as old as the first one, so it does not count again.
        if not isinstance(body, BaseChecked) or not body.key or body.reused is not None or fact.at < after:
            continue
        if body.key not in found or found[body.key].at < datetime.fromisoformat(fact.at):
            found[body.key] = EarlierResult(
                run=fact.run,
                at=datetime.fromisoformat(fact.at),
                evidence=body.evidence,
                folder=project.catalog.folder(fact.run).evidence,
                before=body.before,
            )
    return found
