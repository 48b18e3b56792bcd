"""An agent that reports its result and stays: it is stopped, and the result counts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.agents.claude_code_stream import ClaudeCodeParser
from orchestrator.run.facts import AttemptEnded, Notice
from orchestrator.testing.agent import ScriptedAgent, Step, ignores, reports, waits, works, writes
from orchestrator.testing.processes import Process
from orchestrator.testing.project import TemporaryProject

LIMITS = "[limits]\nattempt_seconds = 7200\n"
DEAF = ignores("SIGINT", "SIGTERM")


class StreamAgent(ScriptedAgent):
    """Reports in its output, like Claude Code."""

    capabilities = replace(ScriptedAgent.capabilities, structured_outcome="native")

    def parser(self) -> ClaudeCodeParser:  # type: ignore[override]
        return ClaudeCodeParser()


def prints(**said: object) -> Step:
    return lambda process: process.print(json.dumps(said))


def ends_turn(status: str = "completed", **more: object) -> Step:
    outcome = {"status": status, "summary": "It is made.", "handoff": "", **more}
    return prints(type="result", subtype="success", is_error=False, result="", structured_output=outcome)


def half_reports(process: Process) -> None:
    process.path(process.env["ORCHESTRATOR_OUTCOME"]).write_text('{"status": "compl')


BEGINS = prints(type="system", subtype="init", session_id="s", model="m")
USES_TOOL = prints(
    type="assistant",
    message={"content": [{"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "make"}}]},
)
WORKS = (BEGINS, USES_TOOL, writes("task-1.txt", "made\n"))


@contextmanager
def project_of(tmp_path: Path, agent: ScriptedAgent, settings: str = LIMITS) -> Iterator[TemporaryProject]:
    with TemporaryProject(tmp_path, agent=agent, settings=settings) as project:
        yield project


def statuses(project: TemporaryProject, run: str) -> list[str]:
    bodies = [fact.body for fact in project.facts(run)]
    return [body.status for body in bodies if isinstance(body, AttemptEnded)]


@pytest.mark.parametrize(
    "agent",
    [
        StreamAgent({("1", 1): (*WORKS, ends_turn(), waits(86_400))}),
        StreamAgent({("1", 1): (DEAF, *WORKS, ends_turn(), waits(86_400))}),
        ScriptedAgent({("1", 1): (*works("1"), waits(86_400))}),
        ScriptedAgent({("1", 1): (DEAF, *works("1"), waits(86_400))}),
        ScriptedAgent({("1", 1): (half_reports, waits(300), *works("1"), waits(86_400))}),
    ],
    ids=["stream", "stream and deaf", "file", "file and deaf", "file after half of it"],
)
def test_it_is_stopped_and_its_outcome_counts(tmp_path: Path, agent: ScriptedAgent) -> None:
    with project_of(tmp_path, agent) as project:
        report = project.run()
        assert report.status == "completed", report.reason
        assert statuses(project, report.run) == ["completed"]
        assert project.clock.monotonic() < 500
        notices = [fact.body.text for fact in project.facts(report.run) if isinstance(fact.body, Notice)]
        assert any("limits.after_result_seconds" in text for text in notices)
        assert project.do(project.engine.list({})) == ()


def test_a_limit_that_comes_first_leaves_the_outcome_valid(tmp_path: Path) -> None:
    agent = ScriptedAgent({("1", 1): (*works("1"), waits(86_400))})
    with project_of(tmp_path, agent, "[limits]\nattempt_seconds = 20\n") as project:
        report = project.run()
        assert (report.status, statuses(project, report.run)) == ("completed", ["completed"])


def test_a_new_turn_and_a_new_outcome_start_the_time_again(tmp_path: Path) -> None:
    woken = (ends_turn("failed"), waits(50), BEGINS, USES_TOOL, waits(600), ends_turn(), waits(86_400))
    with project_of(tmp_path, StreamAgent({("1", 1): (*WORKS, *woken)})) as project:
        report = project.run()
        assert (report.status, statuses(project, report.run)) == ("completed", ["completed"])
        assert 650 < project.clock.monotonic() < 1000


def test_an_agent_that_rewrites_its_file_is_left_alone_meanwhile(tmp_path: Path) -> None:
    steps = [step for n in range(10) for step in (reports("failed", summary=f"step {n}"), waits(40))]
    with project_of(tmp_path, ScriptedAgent({("1", 1): (*steps, *works("1"))})) as project:
        report = project.run()
        assert (report.status, statuses(project, report.run)) == ("completed", ["completed"])


def test_one_that_ends_by_itself_in_time_is_not_announced(tmp_path: Path) -> None:
    with project_of(tmp_path, StreamAgent({("1", 1): (*WORKS, ends_turn(), waits(50))})) as project:
        report = project.run()
        texts = [fact.body.text for fact in project.facts(report.run) if isinstance(fact.body, Notice)]
        assert not any("after_result_seconds" in text for text in texts)
