"""A run that lost its owner gets another one: the agent is found again, and nothing is lost or repeated."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.commands.cancel import cancel, list_unreachable
from orchestrator.errors import EnvironmentInvalid
from orchestrator.journal.journal import Journal
from orchestrator.run.facts import (
    AgentText,
    AgentTool,
    AttemptAdopted,
    AttemptEnded,
    Body,
    Fact,
    StopBegun,
    StopWhy,
)
from orchestrator.run.state import AttemptState
from orchestrator.testing.agent import ScriptedAgent, Step, exits, reports, says, waits, works, writes
from orchestrator.testing.processes import Process
from orchestrator.testing.project import TemporaryProject

LOST = 60.0
"""The agent is alone after so many seconds of its work."""


class OrphanedProject(TemporaryProject):
    """A project whose first attempt loses its owner while the agent is at work.

    The engine stops answering for a while, so that the owner parks the run without an end of the attempt, as
    if it had been killed.
    """

    def __init__(self, folder: Path, *steps: Step, needs_outcome: bool = True) -> None:
        def lose_engine(_process: Process) -> None:
            self.engine.is_away = True

        first = (says("one"), writes("made.txt", "1"), waits(LOST), lose_engine, says("alone"), *steps)
        agent = ScriptedAgent({("1", 1): first}, needs_outcome=needs_outcome)
        super().__init__(folder, agent=agent)

    def lose_owner(self) -> str:
        """Run until the owner is gone, and give the run's id; the engine answers again."""
        report = self.run()
        assert report.status == "parked"
        self.engine.is_away = False
        return report.run

    def pass_time(self, seconds: float) -> None:
        self.do(self.clock.sleep(seconds))

    def append(self, run: str, body: Body) -> None:
        journal = Journal.open(self.state / "journal.sqlite", self.clock)
        self.do(journal.append(run, body, task="1", attempt=1))
        journal.close()

    def change_start(self, **fields: object) -> None:
        """Change what the journal says of the attempt's start."""
        with closing(sqlite3.connect(self.state / "journal.sqlite", isolation_level=None)) as connection:
            for name, value in fields.items():
                connection.execute(
                    "UPDATE facts SET body = json_set(body, ?, json(?)) WHERE kind = 'attempt_started'",
                    (f"$.{name}", json.dumps(value)),
                )

    def attempts(self, run: str) -> Sequence[AttemptState]:
        return self.resume(run).state.tasks["1"].attempts


def bodies(facts: Sequence[Fact], kind: type[Body]) -> list[Body]:
    return [fact.body for fact in facts if isinstance(fact.body, kind)]


def check_output_once(project: OrphanedProject, run: str, words: Sequence[str]) -> None:
    """Each line is in the transcript once, and each of its words in the events once."""
    stored = (project.state / "runs" / run / "attempts/1/1/transcript/stdout").read_text()
    facts = project.facts(run)
    reported = [
        word
        for fact in facts
        if fact.attempt == 1 and isinstance(fact.body, AgentText)
        for word in fact.body.text.splitlines()
    ]
    assert reported == [line for line in stored.splitlines() if not line.startswith("{")] == list(words)
    tools = [fact.body.summary for fact in facts if isinstance(fact.body, AgentTool) and fact.attempt == 1]
    assert tools == [json.loads(line)["summary"] for line in stored.splitlines() if line.startswith("{")]
    covered = [fact.body.stdout_bytes for fact in facts if isinstance(fact.body, AgentText | AgentTool)]
    assert covered == sorted(covered) and covered[-1] == len(stored)


def test_an_agent_at_work_is_adopted(tmp_path: Path) -> None:
    later = (says("two"), waits(600), says("three"), *works("1"))
    with OrphanedProject(tmp_path, *later) as project:
        run = project.lose_owner()
        (container,) = project.do(project.engine.list({}))
        project.pass_time(300)
        (attempt,) = project.attempts(run)
        assert (attempt.adoptions, attempt.epoch) == (1, 1)
        assert attempt.end is not None and attempt.end.status == "completed"
        assert not attempt.end.is_taken
        assert attempt.created is not None and attempt.created.id == container.id
        facts = project.facts(run)
        assert bodies(facts, AttemptAdopted) == [AttemptAdopted(container=container.name)]
        check_output_once(project, run, ["one", "alone", "two", "three"])
        assert len(project.agent.attempts) == 1
        assert project.do(project.engine.list({})) == ()


def test_an_agent_is_adopted_again(tmp_path: Path) -> None:
    def lose_engine(_process: Process) -> None:
        project.engine.is_away = True

    later = (says("two"), waits(600), lose_engine, says("three"), waits(600), *works("1"))
    with OrphanedProject(tmp_path, *later) as project:
        run = project.lose_owner()
        assert project.resume(run).status == "parked"
        project.engine.is_away = False
        (attempt,) = project.attempts(run)
        assert attempt.adoptions == 2
        assert len(project.agent.attempts) == 1
        check_output_once(project, run, ["one", "alone", "two", "three"])


def test_the_result_of_an_agent_that_has_ended_is_taken(tmp_path: Path) -> None:
    with OrphanedProject(tmp_path, says("two"), *works("1")) as project:
        run = project.lose_owner()
        project.pass_time(3600)
        (attempt,) = project.attempts(run)
        assert attempt.end is not None and (attempt.end.status, attempt.end.is_taken) == ("completed", True)
        assert attempt.adoptions == 0
        check_output_once(project, run, ["one", "alone", "two"])
        assert len(project.agent.attempts) == 1


def test_a_failure_that_is_taken_counts_and_its_gates_run(tmp_path: Path) -> None:
    with OrphanedProject(tmp_path, writes("task-1.txt", "x"), reports("failed")) as project:
        run = project.lose_owner()
        project.pass_time(3600)
        attempts = project.attempts(run)
        assert [attempt.end.status for attempt in attempts if attempt.end] == ["failed", "completed"]
        assert attempts[0].candidate is not None


def test_a_removed_container_is_an_interruption(tmp_path: Path) -> None:
    with OrphanedProject(tmp_path, *works("1")) as project:
        run = project.lose_owner()
        (container,) = project.do(project.engine.list({}))
        project.do(project.engine.remove_from_outside(container.id))
        first, second = project.attempts(run)
        assert first.end is not None and first.end.status == "interrupted"
        assert "removed the container" in (first.end.reason or "")
        assert second.start.session == first.start.session and second.start.resumed


@pytest.mark.parametrize("code", [137, 143])
def test_an_agent_that_another_program_stopped_is_not_charged(tmp_path: Path, code: int) -> None:
    with OrphanedProject(tmp_path, exits(code)) as project:
        run = project.lose_owner()
        project.pass_time(3600)
        first, second = project.attempts(run)
        assert first.stop is None and first.end is not None
        assert (first.end.status, first.end.failure) == ("interrupted", "stopped_from_outside")
        assert second.end is not None and second.end.status == "completed"


@pytest.mark.parametrize(
    ("steps", "status"),
    [
        ((exits(0),), "interrupted"),
        ((exits(255),), "interrupted"),
        ((*works("1"), exits(0)), "completed"),
        ((*works("1"), exits(255)), "interrupted"),
    ],
    ids=["0", "255", "0 after its outcome", "255 after its outcome"],
)
def test_an_exit_code_proves_nothing_after_a_power_cut(
    tmp_path: Path, steps: Sequence[Step], status: str
) -> None:
    with OrphanedProject(tmp_path, *steps, needs_outcome=False) as project:
        run = project.lose_owner()
        project.pass_time(3600)
        terms = project.state / "runs" / run / "attempts/1/1/terms.json"
        terms.write_text(json.dumps(json.loads(terms.read_text()) | {"boot": "an earlier one"}))
        first = project.attempts(run)[0]
        assert first.end is not None and first.end.status == status


@pytest.mark.parametrize(
    ("why", "status", "counts"),
    [
        ("cancelled", "interrupted", False),
        ("until", "parked", False),
        ("after_result", "completed", True),
        ("output_limit", "failed", True),
        ("starved", "interrupted", False),
        ("limit", "interrupted", False),
    ],
)
def test_a_stop_that_was_begun_is_finished_and_says_why(
    tmp_path: Path, why: StopWhy, status: str, counts: bool
) -> None:
    later = (waits(10_000),)
    steps = (*works("1"), *later)
    with OrphanedProject(tmp_path, *steps) as project:
        run = project.lose_owner()
        project.append(run, StopBegun(why=why, seen="", stdout_bytes=1_000_000))
        report = project.resume(run)
        end = report.state.tasks["1"].attempts[0].end
        assert end is not None and (end.status, end.is_taken) == (status, counts)
        assert bodies(project.facts(run), AttemptAdopted) == []
        assert project.do(project.engine.list({})) == ()


def test_an_attempt_of_an_older_version_is_stopped_in_order(tmp_path: Path) -> None:
    with OrphanedProject(tmp_path, waits(10_000)) as project:
        run = project.lose_owner()
        project.change_start(limit_seconds=None)
        first, second = project.attempts(run)
        assert first.end is not None and first.end.status == "interrupted"
        assert first.stop is not None and first.stop.why == "orphaned"
        assert second.end is not None and second.end.status == "completed"


def test_an_adopted_attempt_keeps_the_limits_it_was_started_with(tmp_path: Path) -> None:
    with OrphanedProject(tmp_path, *works("1"), waits(50)) as project:
        run = project.lose_owner()
        report = project.resume(run, config=("limits.after_result_seconds=1",))
        (attempt,) = report.state.tasks["1"].attempts
        assert attempt.stop is None
        assert attempt.end is not None and attempt.end.status == "completed"


def test_cancelling_a_run_stops_its_orphan_in_order(tmp_path: Path) -> None:
    with OrphanedProject(tmp_path, writes("task-1.txt", "half"), waits(10_000)) as project:
        run = project.lose_owner()
        project.cancel()
        facts = project.facts(run)
        (stop,), (end,) = bodies(facts, StopBegun), bodies(facts, AttemptEnded)
        assert isinstance(stop, StopBegun) and stop.why == "cancelled"
        assert isinstance(end, AttemptEnded) and end.tool_calls == 2
        assert any(fact.body.kind == "tree_saved" for fact in facts)
        assert project.do(project.engine.list({})) == ()


def test_abandoning_a_run_stops_its_orphan_first(tmp_path: Path) -> None:
    with OrphanedProject(tmp_path, writes("task-1.txt", "half"), waits(10_000)) as project:
        run = project.lose_owner()
        result = project.abandon()
        assert result is not None
        kinds = [fact.body.kind for fact in project.facts(run)]
        assert kinds.index("stop_begun") < kinds.index("attempt_ended") < kinds.index("undo_started")
        assert not (project.folder / "task-1.txt").exists()
        assert project.git("show", f"{result.saved[0]}:task-1.txt") == "half"
        assert project.do(project.engine.list({})) == ()


def refused(project: OrphanedProject, command: Callable[[], object]) -> EnvironmentInvalid:
    with pytest.raises(EnvironmentInvalid, match="of another engine") as caught:
        command()
    assert caught.value.exit_code == 2
    assert caught.value.where == f"fake://{project.engine.folder}"
    return caught.value


def test_while_another_engine_answers_every_command_names_the_right_one(tmp_path: Path) -> None:
    with OrphanedProject(tmp_path, *works("1")) as project:
        run = project.lose_owner()
        before = len(project.facts(run))
        project.engine.id = "another"
        commands: tuple[Callable[[], object], ...] = (
            project.run,
            lambda: project.run(new=True),
            project.resume,
            project.cancel,
            project.abandon,
            lambda: project.undo("1"),
        )
        for command in commands:
            error = refused(project, command)
            assert f"orchestrator cancel {run} --lost-engine" in (error.hint or "")
        assert len(project.facts(run)) == before
        project.engine.id = "fake"
        assert project.resume(run).status == "completed"


def test_cancel_can_do_without_a_lost_engine(tmp_path: Path) -> None:
    with OrphanedProject(tmp_path, writes("task-1.txt", "half"), waits(10_000)) as project:
        run = project.lose_owner()
        project.engine.id = "another"
        (lost,) = project.do(list_unreachable(project.host, run))
        assert lost.name.startswith("ktrdr-coding-agent-") and lost.endpoint.startswith("fake://")
        state = project.do(cancel(project.host, run, lost_engine=True))
        assert state.end is not None and state.end.status == "cancelled"
        (attempt,) = state.tasks["1"].attempts
        assert attempt.end is not None and attempt.end.status == "interrupted"
        assert attempt.end.tool_calls == 1  # the second one was not stored before the engine was lost
        assert attempt.saved is not None
