"""The key of a result holds everything that the result depends on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.engine.result_keys import result_keys

GIVEN: dict[str, Any] = {
    "tree": "t",
    "image": "i",
    "commands": ("a", "b"),
    "variables": {"A": "1"},
    "mounts": (),
    "memory": "4g",
    "timeout": 600.0,
    "uid": 1000,
}


def keys(**changes: Any) -> tuple[str, ...]:
    given = SimpleNamespace(**(GIVEN | changes))
    owner = SimpleNamespace(uid=given.uid, gid=1000)
    machine = SimpleNamespace(mounts=given.mounts)
    container = SimpleNamespace(memory=given.memory, cpus=None, pids=512, network="open")
    terms: Any = SimpleNamespace(
        specs=SimpleNamespace(variables=given.variables, machine=machine, owner=owner),
        settings=SimpleNamespace(container=container, verify=SimpleNamespace(timeout=given.timeout)),
    )
    return result_keys(terms, tree=given.tree, image=given.image, commands=given.commands)


@pytest.mark.parametrize(
    "changes",
    [
        {"tree": "u"},
        {"image": "j"},
        {"variables": {"A": "2"}},
        {"mounts": (SimpleNamespace(source=Path("/x"), target="/y", read_only=True),)},
        {"memory": "8g"},
        {"timeout": 60.0},
        {"uid": 0},
        {"commands": ("c", "b")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_surrounding_is_another_key(changes: dict[str, Any]) -> None:
    assert keys(**changes)[-1] != keys()[-1]


def test_the_commands_after_one_do_not_belong_to_its_key() -> None:
    assert keys(commands=("a", "c"))[0] == keys()[0]
    assert keys() == keys()
