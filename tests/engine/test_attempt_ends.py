"""How an attempt ends: once, before its container is removed, and with all that it did."""

from pathlib import Path

import pytest

from orchestrator.commands.cancel import cancel
from orchestrator.containers.logs import STDOUT_FILE, stored_lines
from orchestrator.engine.agent_watch import PATIENCE_SECONDS, kill, stop_in_order
from orchestrator.errors import CodingAgentError
from orchestrator.gates.gate import Finding, worded
from orchestrator.run.facts import AttemptEnded, TreeSaved
from orchestrator.testing.agent import ScriptedAgent, hits_limit
from orchestrator.testing.engine import FakeEngine
from orchestrator.testing.project import TemporaryProject


class Seen:
    """What the journal says of the attempts whose container is removed, at that moment."""

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


def test_a_parked_attempt_keeps_its_tree(tmp_path: Path) -> None:
    agent = ScriptedAgent({("1", 1): (hits_limit("usage_limit"),)})
    with TemporaryProject(tmp_path, agent=agent) as project:
        report = project.run()
        kinds = [type(fact.body) for fact in project.facts(report.run)]
        assert kinds.index(AttemptEnded) < kinds.index(TreeSaved)
        project.do(cancel(project.host, report.run))


def test_only_whole_lines_are_replayed(tmp_path: Path) -> None:
    assert list(stored_lines(tmp_path)) == []
    (tmp_path / STDOUT_FILE).write_bytes(b"one\n\ntwo\nunfinished")
    assert list(stored_lines(tmp_path)) == [b"one", b"", b"two"]


def test_stopping_a_removed_container_does_nothing(tmp_path: Path) -> None:
    with TemporaryProject(tmp_path) as project:
        before = project.clock.monotonic()
        project.do(kill(project.engine, "absent"))
        project.do(stop_in_order(project.engine, project.clock, "absent"))
        assert project.clock.monotonic() - before < PATIENCE_SECONDS


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (Finding(rule="tree_refused", path="a", text="it is a pipe"), "a: it is a pipe"),
        (Finding(rule="setup_fails", path=None, text="no"), "its dependencies cannot be installed: no"),
        (
            Finding(rule="setup_makes_it", path="b"),
            "b is tracked, and setup makes it: no check could tell the two apart",
        ),
    ],
    ids=lambda value: getattr(value, "rule", ""),
)
def test_a_finding_is_worded_in_one_place(finding: Finding, expected: str) -> None:
    assert worded(finding) == expected
