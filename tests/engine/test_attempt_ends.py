"""How an attempt ends: once, before its container is removed, and with all that it did."""

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orchestrator.agents.registry import agent_driver
from orchestrator.commands.cancel import cancel
from orchestrator.containers.logs import STDOUT_FILE, read_stored_lines
from orchestrator.engine.agent_watch import PATIENCE_SECONDS, kill, stop_in_order
from orchestrator.errors import CodingAgentError, StorageError
from orchestrator.gates.gate import Finding, word_finding
from orchestrator.project.host import Host
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.facts import AttemptEnded, Notice, TreeSaved
from orchestrator.testing.agent import (
    ScriptedAgent,
    Step,
    exits,
    hits_limit,
    ignores,
    loses_session,
    prints_unknown,
    reports,
    says,
    waits,
    works,
    writes,
)
from orchestrator.testing.engine import FakeEngine
from orchestrator.testing.processes import Process
from orchestrator.testing.project import TemporaryProject

FULL = "the journal cannot be written: the disk is full"


class Seen:
    """The state of each attempt in the journal at the moment when its container is removed."""

    def __init__(self, project: TemporaryProject, monkeypatch: pytest.MonkeyPatch, *, fails: bool) -> None:
        self.ended: list[bool] = []
        remove = FakeEngine.remove

        async def watched(engine: FakeEngine, container: str) -> None:
            state = await engine.inspect(container)
            if state is not None and state.labels.get("ktrdr.kind") == "attempt":
                facts = project.facts(state.labels["ktrdr.run"])
                self.ended.append(any(isinstance(fact.body, AttemptEnded) for fact in facts))
                if fails:
                    raise CodingAgentError("the engine is gone")
            await remove(engine, container)

        monkeypatch.setattr(FakeEngine, "remove", watched)


def test_the_end_is_written_before_the_container_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TemporaryProject(tmp_path) as project:
        seen = Seen(project, monkeypatch, fails=False)
        assert project.run().status == "completed"
        assert seen.ended == [True]


def test_a_container_that_outlived_its_recorded_end_is_removed_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TemporaryProject(tmp_path) as project:
        with monkeypatch.context() as patch:
            seen = Seen(project, patch, fails=True)
            assert project.run().status == "parked"
        assert seen.ended == [True]
        assert len(project.do(project.engine.list({}))) == 1
        report = project.resume()
        assert report.status == "completed"
        assert project.do(project.engine.list({})) == ()
        assert sum(isinstance(fact.body, AttemptEnded) for fact in project.facts(report.run)) == 1


@pytest.mark.parametrize("kind", ["agent_tool", "attempt_ended"])
def test_an_attempt_whose_end_cannot_be_stored_keeps_its_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with TemporaryProject(tmp_path) as project:
        with monkeypatch.context() as patch:
            refuse_facts(patch, kind)
            report = project.run()
        assert report.status == "parked" and report.reason == FULL
        assert len(project.do(project.engine.list({}))) == 1
        report = project.resume()
        assert report.status == "completed"
        assert project.do(project.engine.list({})) == ()
        ends = [fact.body for fact in project.facts(report.run) if isinstance(fact.body, AttemptEnded)]
        assert [(end.status, end.tool_calls, end.is_taken) for end in ends] == [("completed", 1, True)]


def test_an_agent_continues_when_the_engine_does_not_answer_its_owner(tmp_path: Path) -> None:
    def lose_engine(_process: Process) -> None:
        project.engine.is_away = True

    steps = (writes("task-1.txt", "half"), lose_engine, says("still here"), waits(3600), *works("1"))
    with TemporaryProject(tmp_path, agent=ScriptedAgent({("1", 1): steps})) as project:
        report = project.run()
        assert report.status == "parked"
        notices = [fact.body.text for fact in project.facts(report.run) if isinstance(fact.body, Notice)]
        assert [text for text in notices if "may still be at work in the container ktrdr-" in text]
        project.engine.is_away = False
        (left,) = project.do(project.engine.list({}))
        assert left.status == "running"
        report = project.resume()
        assert report.status == "completed"
        (attempt,) = report.state.tasks["1"].attempts
        assert attempt.adoptions == 1 and attempt.end is not None and attempt.end.tool_calls == 2


def test_an_agent_whose_owner_cannot_store_its_output_is_stopped_by_cancel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = (writes("task-1.txt", "half"), waits(3600))
    with TemporaryProject(tmp_path, agent=ScriptedAgent({("1", 1): steps})) as project:
        with monkeypatch.context() as patch:
            refuse_facts(patch, "agent_tool")
            report = project.run()
        (left,) = project.do(project.engine.list({}))
        assert (report.status, left.status) == ("parked", "running")
        state = project.do(cancel(project.host, report.run))
        (attempt,) = state.tasks["1"].attempts
        assert attempt.end is not None and attempt.saved is not None
        assert (attempt.end.reason, attempt.end.tool_calls) == ("cancelled", 1)
        assert project.do(project.engine.list({})) == ()


def refuse_facts(patch: pytest.MonkeyPatch, kind: str) -> None:
    """Let the journal refuse all facts of this kind."""
    append, append_all = RunJournal.append, RunJournal.append_all

    async def refusing_all(journal: RunJournal, bodies: Sequence[Any], **about: Any) -> None:
        if any(body.kind == kind for body in bodies):
            raise StorageError(FULL)
        await append_all(journal, bodies, **about)

    async def refusing(journal: RunJournal, body: Any, **about: Any) -> object:
        if getattr(body, "kind", None) == kind:
            raise StorageError(FULL)
        return await append(journal, body, **about)

    patch.setattr(RunJournal, "append", refusing)
    patch.setattr(RunJournal, "append_all", refusing_all)


def test_a_parked_attempt_keeps_its_tree(tmp_path: Path) -> None:
    agent = ScriptedAgent({("1", 1): (hits_limit("usage_limit"),)})
    with TemporaryProject(tmp_path, agent=agent) as project:
        report = project.run()
        kinds = [type(fact.body) for fact in project.facts(report.run)]
        assert kinds.index(AttemptEnded) < kinds.index(TreeSaved)
        project.do(cancel(project.host, report.run))


def test_only_whole_lines_are_replayed(tmp_path: Path) -> None:
    assert list(read_stored_lines(tmp_path)) == []
    (tmp_path / STDOUT_FILE).write_bytes(b"one\n\ntwo\nunfinished")
    assert list(read_stored_lines(tmp_path)) == [(b"one", 4), (b"", 5), (b"two", 9)]


def test_stopping_a_removed_container_does_nothing(tmp_path: Path) -> None:
    with TemporaryProject(tmp_path) as project:
        before = project.clock.monotonic()
        project.do(kill(project.engine, "absent"))
        project.do(stop_in_order(project.engine, project.clock, "absent", asyncio.Event()))
        assert project.clock.monotonic() - before < PATIENCE_SECONDS


def signals(number: signal.Signals) -> Step:
    """Send a signal to the orchestrator, as a user would."""
    return lambda _process: os.kill(os.getpid(), number)


def test_a_second_signal_kills_an_agent_that_does_not_listen(tmp_path: Path) -> None:
    stopping = (signals(signal.SIGINT), waits(1), signals(signal.SIGTERM), waits(10_000))
    steps = (ignores("SIGINT", "SIGTERM"), writes("made.txt", "one"), *stopping)
    with TemporaryProject(tmp_path, agent=ScriptedAgent({("1", 1): steps})) as project:
        before = project.clock.monotonic()
        report = project.run()
        assert project.clock.monotonic() - before < 5
        bodies = [fact.body for fact in project.facts(report.run)]
        (end,) = [body for body in bodies if isinstance(body, AttemptEnded)]
        assert (report.exit_code, end.status) == (130, "interrupted")
        assert any(isinstance(body, TreeSaved) for body in bodies)
        assert project.do(project.engine.list({})) == ()


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (Finding(rule="tree_refused", path="a", text="it is a pipe"), "a: it is a pipe"),
        (Finding(rule="setup_fails", path=None, text="no"), "its dependencies cannot be installed: no"),
        (
            Finding(rule="setup_makes_it", path="b"),
            "b is tracked by git, and setup writes it as well, so a check could test setup's version of it",
        ),
    ],
    ids=lambda value: getattr(value, "rule", ""),
)
def test_a_finding_is_worded_in_one_place(finding: Finding, expected: str) -> None:
    assert word_finding(finding) == expected


class TwoAgents(TemporaryProject):
    """A project whose runs can have the scripted agent (`command`) or one that changes nothing (`nop`)."""

    @property
    def host(self) -> Host:
        return structs.replace(
            super().host, agent_driver=lambda name: agent_driver(name) if name == "nop" else self.agent
        )


def test_an_attempt_is_read_as_that_of_the_agent_that_it_was_started_with(tmp_path: Path) -> None:
    def lose_engine(_process: Process) -> None:
        project.engine.is_away = True

    steps = (writes("task-1.txt", "half"), lose_engine, waits(3600))
    with TwoAgents(tmp_path, agent=ScriptedAgent({("1", 1): steps}), gates={"sh": nothing}) as project:
        assert project.run().status == "parked"
        project.engine.is_away = False
        report = project.resume(agent="nop")
        first, second = report.state.tasks["1"].attempts[:2]
        assert first.end is not None and first.end.tool_calls == 1
        assert (first.start.agent, second.start.agent) == ("command", "nop")
        assert not second.start.resumed and second.start.session != first.start.session


def nothing(process: Process) -> None:
    """The program of `nop`: it reports success and changes nothing."""
    process.path(process.env["ORCHESTRATOR_OUTCOME"]).write_text('{"status": "completed"}')


@pytest.mark.parametrize(
    ("last", "shown"),
    [(exits(1), "oh no\n"), (reports("failed"), "")],
    ids=["no outcome", "an outcome"],
)
def test_the_end_of_standard_error_is_kept_where_an_attempt_left_no_outcome(
    tmp_path: Path, last: Step, shown: str
) -> None:
    def complain(process: Process) -> None:
        process.write("stderr", b"\x1b[31moh no\n")

    with TemporaryProject(tmp_path, agent=ScriptedAgent({("1", 1): (complain, last)})) as project:
        (first, _) = project.run().state.tasks["1"].attempts
        assert first.end is not None and first.end.stderr_tail == shown


@pytest.mark.parametrize("is_lost", [False, True], ids=["kept", "lost"])
def test_a_session_that_lost_a_part_of_itself_is_not_continued(tmp_path: Path, *, is_lost: bool) -> None:
    loss = (loses_session(),) if is_lost else ()
    agent = ScriptedAgent({("1", 1): (writes("half.txt", "half"), reports("failed"), *loss)})
    with TemporaryProject(tmp_path, agent=agent) as project:
        report = project.run()
        assert report.status == "completed"
        second = agent.attempts[1]
        assert (second.task, second.number, second.resumed) == ("1", 2, not is_lost)
        ends = [fact.body for fact in project.facts(report.run) if isinstance(fact.body, AttemptEnded)]
        assert (ends[0].session_kept, ends[0].session_lost is not None) == (not is_lost, is_lost)
        notices = [fact.body.text for fact in project.facts(report.run) if isinstance(fact.body, Notice)]
        text = "the agent's session cannot be continued: the disk is full; the next attempt starts a new one"
        assert (text in notices) == is_lost


def test_lines_that_the_driver_does_not_know_are_counted_by_kind_and_decide_nothing(tmp_path: Path) -> None:
    new = [prints_unknown(kind) for kind in ("system/a", "system/b", "system/a")]
    agent = ScriptedAgent({("1", 1): (*new, writes("task-1.txt", "work"), reports())})
    with TemporaryProject(tmp_path, agent=agent) as project:
        report = project.run()
        assert report.status == "completed"
        facts = project.facts(report.run)
        end = next(fact.body for fact in facts if isinstance(fact.body, AttemptEnded))
        assert end.unknown == {"system/a": 2, "system/b": 1}
        notices = [fact.body.text for fact in facts if isinstance(fact.body, Notice)]
        assert [text for text in notices if "(2 x system/a, 1 x system/b)" in text]
        assert not [fact for fact in facts if fact.body.kind == "agent_text" and "system/" in str(fact.body)]
