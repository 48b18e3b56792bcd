"""The contract of outcomes: which values are valid, and why others are not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.events import InvalidOutcome, Outcome, Usage, parse_outcome

TWENTY = [str(number) for number in range(20)]

OUTCOMES: dict[str, tuple[dict[str, Any], Outcome]] = {
    "status alone": ({"status": "completed"}, Outcome(status="completed")),
    "failed": ({"status": "failed", "summary": "no"}, Outcome(status="failed", summary="no")),
    "a question": (
        {"status": "needs_human", "question": "Which?", "options": ["a"], "recommendation": "a"},
        Outcome(status="needs_human", question="Which?", options=("a",), recommendation="a"),
    ),
    "a question without options": (
        {"status": "needs_human", "question": "Which?"},
        Outcome(status="needs_human", question="Which?"),
    ),
    "twenty options": (
        {"status": "completed", "options": TWENTY},
        Outcome(status="completed", options=tuple(TWENTY)),
    ),
    "absent as null": (
        dict.fromkeys(("summary", "handoff", "question", "options", "recommendation"))
        | {"status": "completed"},
        Outcome(status="completed"),
    ),
    "other keys": (
        {"status": "completed", "cost": {"usd": 1}, "x": None},
        Outcome(status="completed", extra={"cost": {"usd": 1}, "x": None}),
    ),
}


@pytest.mark.parametrize(("value", "expected"), OUTCOMES.values(), ids=OUTCOMES)
def test_a_valid_outcome(value: dict[str, Any], expected: Outcome) -> None:
    assert parse_outcome(value) == expected


INVALID: dict[str, object] = {
    "null": None,
    "a list": [{"status": "completed"}],
    "text": "completed",
    "no status": {},
    "status in capitals": {"status": "Completed"},
    "status of another kind": {"status": ["completed"]},
    "status true": {"status": True},
    "unknown status": {"status": "partial"},
    **{
        f"{key} of another kind": {"status": "completed", key: 7}
        for key in ("summary", "handoff", "question", "recommendation")
    },
    **{
        f"{key} false": {"status": "completed", key: False}
        for key in ("summary", "handoff", "question", "recommendation", "options")
    },
    "options as text": {"status": "completed", "options": "ab"},
    "options as empty text": {"status": "completed", "options": ""},
    "options as an object": {"status": "completed", "options": {}},
    "options as zero": {"status": "completed", "options": 0},
    "an option of another kind": {"status": "completed", "options": ["a", None]},
    "twenty-one options": {"status": "completed", "options": [*TWENTY, "20"]},
    "needs_human without a question": {"status": "needs_human"},
    "needs_human with an empty question": {"status": "needs_human", "question": " \n"},
}


@pytest.mark.parametrize("value", INVALID.values(), ids=INVALID)
def test_an_invalid_outcome(value: object) -> None:
    found = parse_outcome(value)
    assert isinstance(found, InvalidOutcome) and found.reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["status", "summary", "handoff", "question", "options", "recommendation", "x"])
STATUS = st.sampled_from(["completed", "failed", "needs_human"])


@given(JSON | st.dictionaries(KEYS, JSON | STATUS))
def test_no_value_raises(value: object) -> None:
    assert isinstance(parse_outcome(value), Outcome | InvalidOutcome)


def test_usage_adds_up_field_by_field() -> None:
    one = Usage(input_tokens=1, output_tokens=2, cache_write_tokens=3, cache_read_tokens=4, cost_usd=0.5)
    assert one + one == Usage(
        input_tokens=2, output_tokens=4, cache_write_tokens=6, cache_read_tokens=8, cost_usd=1.0
    )
    assert one + Usage() == one
