"""A journal says by one number which kinds of facts it may hold, and older journals are read as they were."""

import fcntl
import json
import sqlite3
import subprocess  # noqa: TID251 - another process that holds a lock
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from orchestrator.clock import SystemClock
from orchestrator.errors import EnvironmentInvalid
from orchestrator.journal import journal, reader
from orchestrator.journal.journal import Journal
from orchestrator.journal.reader import JournalReader
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.facts import BODIES, Notice
from orchestrator.run.report import run_json
from orchestrator.run.state import fold

STORED = Path(__file__).parent / "stored"
RUN = "plan-dfb6e2"

KINDS = {
    1: """
        run_started run_resumed plan_taken notice setup_started still_running setup_ended base_checked
        base_run_ended branch_ready edits_committed task_started attempt_started agent_text agent_tool
        attempt_ended tree_saved tree_looked_at candidate_made candidate_refused gate_started gate_ended
        landing_started landing_refused task_finished question_asked question_answered end_to_end_ended
        undo_started work_undone cancel_wished run_ended
    """,
    2: """
        names_reserved settings_taken task_accepted set_aside_started tree_set_aside lay_back_started
        tree_laid_back limit_seen limit_passed run_waiting wait_ended
    """,
    3: """
        container_created container_started stop_begun attempt_adopted windows_seen corner_checked base_moved
    """,
}
"""By the version that brought them. A new kind needs a new version: older programs cannot read it."""


def test_every_kind_belongs_to_a_version_and_every_version_has_a_migration() -> None:
    listed = [kind for kinds in KINDS.values() for kind in kinds.split()]
    assert sorted(listed) == sorted(BODIES)
    assert list(KINDS) == list(range(1, reader.VERSION + 1))
    assert len(journal._migrations()) == reader.VERSION


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A journal as version 1 wrote it; `stored/version-1-status.json` is what its `status` said."""
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((STORED / "version-1.sql").read_text("utf-8"))
    return path


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


@contextmanager
def reading(path: Path) -> Iterator[JournalReader]:
    opened = JournalReader.open_existing(path, SystemClock())
    assert opened is not None
    with closing(opened):
        yield opened


def test_reading_an_old_journal_leaves_it_as_it_is(old: Path) -> None:
    before = old.read_bytes()
    with reading(old) as opened:
        assert len(opened.facts(RUN)) == 29
    assert version(old) == 1
    assert old.read_bytes() == before


def test_its_runs_are_what_they_were(old: Path) -> None:
    stored = json.loads((STORED / "version-1-status.json").read_text("utf-8"))
    with reading(old) as opened:
        state = fold(opened.state_facts(RUN))
    for task in (task for run in stored["runs"] for task in run["tasks"]):
        task["attempts"] = [{**attempt, "adopted": 0, "failure": None} for attempt in task["attempts"]]
    added: dict[str, object] = {"cause": None, "unverified": 0, "billing": None, "windows": []}
    assert [{**run, **added} for run in stored["runs"]] == [run_json(state, None)]
    assert state.evidence_given == 5  # e1 and e2 on the base, then one for each candidate


async def test_an_append_migrates_it_and_continues_the_numbers(old: Path) -> None:
    opened = Journal.open(old, SystemClock())
    run = RunJournal.open(opened, RUN)
    before = run.state.last_n
    assert await run.reserve_evidence(1) == ("e6",)
    assert await run.reserve_ref("edits") == f"refs/ktrdr/edits/{RUN}/{before + 2}"
    opened.close()
    assert version(old) == reader.VERSION


@contextmanager
def held(lock: Path) -> Iterator[None]:
    code = (
        "import fcntl, sys; lock = open(sys.argv[1], 'a'); fcntl.flock(lock, fcntl.LOCK_EX); "
        "print(flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", code, str(lock)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield
        holder.communicate()


def test_while_an_older_gateway_serves_attempts_it_is_not_migrated(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LOCK_SECONDS", 0.1)
    with held(old.parent / "gateway.lock"), pytest.raises(EnvironmentInvalid, match="older") as caught:
        Journal.open(old, SystemClock())
    assert caught.value.exit_code == 2 and "Wait" in (caught.value.hint or "")
    assert version(old) == 1
    Journal.open(old, SystemClock()).close()
    assert version(old) == reader.VERSION


def test_a_gateway_of_this_version_does_not_prevent_opening(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with held(tmp_path / "gateway.lock"):
        Journal.open(path, SystemClock()).close()  # a new one
        Journal.open(path, SystemClock()).close()


def test_migrating_leaves_the_lock_free(old: Path) -> None:
    Journal.open(old, SystemClock()).close()
    with (old.parent / "gateway.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_a_kind_that_only_a_newer_program_knows_is_an_error_with_a_next_step(old: Path) -> None:
    opened = Journal.open(old, SystemClock())
    run = RunJournal.open(opened, RUN)
    with closing(sqlite3.connect(old, isolation_level=None)) as newer:
        newer.execute(
            "INSERT INTO facts (run, n, at, kind, body) VALUES (?, ?, 't', 'moon_seen', '{}')",
            (RUN, run.state.last_n + 1),
        )
    before = len(stored_facts(opened))
    for reads in (lambda: opened.facts(RUN), lambda: opened.state_facts(RUN)):
        with pytest.raises(EnvironmentInvalid, match="moon_seen") as caught:
            reads()
        assert caught.value.exit_code == 2
        assert caught.value.where == str(old)
        assert "newer orchestrator" in (caught.value.hint or "")
    with pytest.raises(EnvironmentInvalid, match="moon_seen"):
        await run.append(Notice(text="after it"))
    assert len(stored_facts(opened)) == before
    opened.close()


def stored_facts(opened: Journal) -> list[object]:
    return opened._connection.execute("SELECT n FROM facts WHERE run = ?", (RUN,)).fetchall()
