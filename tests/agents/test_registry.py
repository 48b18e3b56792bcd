"""Drivers by name."""

import sys

import pytest

from orchestrator.agents.registry import KNOWN, agent_driver
from orchestrator.errors import UsageError
from orchestrator.subprocesses import run


@pytest.mark.parametrize("name", KNOWN)
def test_a_driver_answers_to_its_name(name: str) -> None:
    assert agent_driver(name).name == name


@pytest.mark.parametrize(
    ("name", "guess"),
    [("cluade-code", "claude-code"), ("claude", "claude-code"), ("NOP", "nop"), ("comand", "command")],
)
def test_an_unknown_name_gets_the_nearest(name: str, guess: str) -> None:
    with pytest.raises(UsageError) as caught:
        agent_driver(name)
    assert caught.value.hint == f"Did you mean {guess}? Known agents: claude-code, command, nop."
    assert name in caught.value.what


@pytest.mark.parametrize("name", ["", "zzzzzz", "os:system", "\x1b[31m"])
def test_a_name_like_none_gets_the_list_alone(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        agent_driver(name)
    assert caught.value.hint == "Known agents: claude-code, command, nop."
    assert "\x1b" not in str(caught.value)


async def test_a_driver_is_imported_when_it_is_asked_for() -> None:
    script = (
        "import sys; from orchestrator.agents.registry import agent_driver; agent_driver('nop');"
        "print('orchestrator.agents.claude_code' in sys.modules)"
    )
    done = await run([sys.executable, "-c", script], timeout=60)
    assert done.stdout.decode().strip() == "False", done.stderr
