"""The names that programs import from `orchestrator`, before anything is started."""

import inspect
from dataclasses import fields
from typing import Any

import pytest

from orchestrator import run_milestone
from orchestrator.commands.request import RunRequest, StartOptions


async def test_a_misspelt_option_is_an_error_that_the_caller_sees() -> None:
    misspelt: dict[str, Any] = {"agent_comand": "bash agent.sh"}
    with pytest.raises(TypeError, match="agent_comand"):
        await run_milestone("plan.md", **misspelt)


def test_every_option_of_a_run_is_a_keyword_with_the_same_default() -> None:
    plan, *options = inspect.signature(run_milestone).parameters.values()
    assert plan.name == "plan"
    assert all(option.kind is option.KEYWORD_ONLY for option in options)
    declared = {each.name: each.default for each in (*fields(RunRequest), *fields(StartOptions))}
    for option in options:
        assert callable(option.default) or option.default == declared[option.name]
    at_a_terminal = {"left_open", "end_process"}
    assert {option.name for option in options} == declared.keys() - {"plan", "options"} - at_a_terminal
