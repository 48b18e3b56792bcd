"""A journal says by one number which kinds of facts it may hold."""

from orchestrator.journal import journal, reader
from orchestrator.run.facts import BODIES

KINDS = {
    1: """
        run_started run_resumed plan_taken notice setup_started still_running setup_ended base_checked
        base_run_ended branch_ready edits_committed task_started attempt_started agent_text agent_tool
        attempt_ended tree_saved tree_looked_at candidate_made candidate_refused gate_started gate_ended
        landing_started landing_refused task_finished question_asked question_answered end_to_end_ended
        undo_started work_undone cancel_wished run_ended
    """,
    2: "names_reserved",
}
"""By the version that brought them. A new kind needs a new version: older programs cannot read it."""


def test_every_kind_belongs_to_a_version_and_every_version_has_a_migration() -> None:
    listed = [kind for kinds in KINDS.values() for kind in kinds.split()]
    assert sorted(listed) == sorted(BODIES)
    assert list(KINDS) == list(range(1, reader.VERSION + 1))
    assert len(journal._migrations()) == reader.VERSION
