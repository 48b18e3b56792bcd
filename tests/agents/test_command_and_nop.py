"""Any program as the agent, and the agent that does nothing."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agents.base import OUTCOME_FILE, LaunchRequest, Session
from orchestrator.agents.command import Command
from orchestrator.agents.nop import Nop
from orchestrator.agents.outcomes import read_outcome_file
from orchestrator.errors import UsageError
from orchestrator.events import Outcome, Text
from orchestrator.subprocesses import run
from orchestrator.text import plain

REQUEST = LaunchRequest(
    run="a-run",
    task="3.1 (b)",
    attempt=2,
    session=Session(id="5e5510e0-0000-4000-8000-000000000001", resumed=True),
    model="m",
    max_turns=5,
    token="t0ken",
    command=("bash", "agent.sh", "two words"),
)


def test_the_program_runs_as_configured_with_its_attempt_in_the_environment() -> None:
    launch = Command().launch(REQUEST)
    assert launch.argv == ("bash", "agent.sh", "two words")
    assert launch.env == {
        "ORCHESTRATOR_RUN": "a-run",
        "ORCHESTRATOR_TASK": "3.1 (b)",
        "ORCHESTRATOR_ATTEMPT": "2",
        "ORCHESTRATOR_OUTCOME": OUTCOME_FILE,
    }
    assert not launch.files
    assert not Command().session_files("s")


@pytest.mark.parametrize("command", [(), ("",)], ids=["none", "empty"])
def test_without_a_program_the_next_step_is_named(command: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--agent-command"):
        Command().launch(replace(REQUEST, command=command))
    with pytest.raises(UsageError, match="--agent-command"):
        Command().program(command)


@given(st.binary())
def test_everything_printed_is_text(line: bytes) -> None:
    expected = plain(line.decode("utf-8", "replace"))
    assert Command().parser().feed(line) == (Text(text=expected),)
    assert Nop().parser().feed(line) == (Text(text=expected),)


def test_no_control_code_is_printed() -> None:
    (event,) = Command().parser().feed(b"[/workspace/a.py] \x1b[31mred\x07 \xff")
    assert event == Text(text="[/workspace/a.py] red �")


async def test_nop_claims_completed_and_changes_nothing_else(tmp_path: Path) -> None:
    launch = Nop().launch(REQUEST)
    claim, folder = tmp_path / "outcome.json", tmp_path / "folder"
    folder.mkdir()
    env = {"PATH": os.environ["PATH"], **launch.env, "ORCHESTRATOR_OUTCOME": str(claim)}
    done = await run(launch.argv, timeout=60, env=env, cwd=folder)
    assert (done.exit_code, done.stdout, done.stderr) == (0, b"", b"")
    assert read_outcome_file(claim) == Outcome(status="completed", summary="Nothing was done.")
    assert list(folder.iterdir()) == []
