"""The scripted agent's driver keeps what every driver must; what it does is seen in histories."""

import pytest

from orchestrator.agents.conformance import CHECKS, parse_lines
from orchestrator.events import ProviderRefusal, Text, ToolCall
from orchestrator.testing.agent import ScriptedAgent


@pytest.mark.parametrize("check", CHECKS)
def test_the_driver_keeps_every_promise(check: str) -> None:
    assert list(CHECKS[check](ScriptedAgent())) == []


def test_its_lines_become_events() -> None:
    lines = [
        b'{"tool": "Write", "summary": "a.txt"}',
        b'{"limit": "usage_limit", "until": 1800000000}',
        b"plain words",
        b'{"limit": "unheard of", "until": null}',
    ]
    assert parse_lines(ScriptedAgent(), lines) == (
        ToolCall(id="", name="Write", summary="a.txt"),
        ProviderRefusal(kind="usage_limit", detail="the provider answered 429", until=1_800_000_000),
        Text(text="plain words"),
        Text(text='{"limit": "unheard of", "until": null}'),
    )
