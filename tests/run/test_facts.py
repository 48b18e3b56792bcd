"""Facts as the journal stores them. `stored/bodies.txt` was written when they were dataclasses."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.run.facts import BODIES, RunEnded

STORED = [
    line.split(" ", 1)
    for line in (Path(__file__).parent / "stored/bodies.txt").read_text("utf-8").split("\n")
][:-1]


@pytest.mark.parametrize(("kind", "body"), STORED, ids=[f"{n}-{kind}" for n, (kind, _) in enumerate(STORED)])
def test_a_stored_body_is_read_and_written_as_it_was(kind: str, body: str) -> None:
    decoded = msgspec.json.decode(body, type=BODIES[kind])
    written = json.loads(msgspec.json.encode(decoded))
    assert without_added_fields(written, json.loads(body)) == json.loads(body)


def without_added_fields(written: Any, stored: Any) -> Any:
    """A fact may get new fields; they are left out wherever the stored one lacks them."""
    match written, stored:
        case dict(), dict():
            return {key: without_added_fields(written[key], stored[key]) for key in written if key in stored}
        case list(), list():
            pairs = zip(written, stored, strict=True)
            return [without_added_fields(new, old) for new, old in pairs]
        case _:
            return written


def test_a_field_of_a_newer_version_is_ignored() -> None:
    stored = b'{"status":"failed","exit_code":1,"of_tomorrow":{"x":1}}'
    assert msgspec.json.decode(stored, type=RunEnded) == RunEnded(status="failed", exit_code=1)


def test_facts_are_frozen_and_equal_by_value() -> None:
    fact = RunEnded(status="failed", exit_code=1)
    assert fact == RunEnded(status="failed", exit_code=1) != RunEnded(status="parked", exit_code=1)
    assert hash(fact) == hash(RunEnded(status="failed", exit_code=1))
    with pytest.raises(AttributeError):
        fact.exit_code = 2  # type: ignore[misc]
