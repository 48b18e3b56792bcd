"""How a run ends when several things could end it."""

import pytest
from run_histories import begun, finished, state_after, task_started

from orchestrator.run.endings import (
    BUG,
    EXIT_CODES,
    is_reason_of_a_task,
    rank,
    run_ended_fact,
    worst_exit_code,
)


def test_the_order_of_exit_codes() -> None:
    assert sorted((0, 1, 2, 3, 4, 70, 130), key=rank) == [70, 130, 2, 3, 4, 1, 0]


def test_every_status_has_a_place_in_the_order() -> None:
    assert [rank(code) for code in EXIT_CODES.values()]


@pytest.mark.parametrize(
    ("codes", "worst"), [((), 0), ((0, 1), 1), ((4, 3, 1), 3), ((2, 130), 130), ((0, -9), BUG)]
)
def test_the_exit_code_of_several_runs(codes: tuple[int, ...], worst: int) -> None:
    assert worst_exit_code(codes) == worst


def test_a_run_that_cannot_begin_ends_with_two() -> None:
    assert run_ended_fact("failed", cause="base_red").exit_code == 2
    assert run_ended_fact("failed", cause="task_failed").exit_code == 1


@pytest.mark.parametrize(
    ("reason", "is_said"),
    [
        ("task 1: no more attempts", True),
        ("task 1: no more attempts; task 2: no more attempts", True),
        ("tasks 1 and 2 failed in the same way; task 1: no more attempts; task 2: no more attempts", False),
        ("task 1: no more attempts; task 3: no more attempts", False),
        ("away", False),
        (None, False),
    ],
)
def test_a_reason_that_names_more_than_failed_tasks_is_not_said_yet(
    reason: str | None, is_said: bool
) -> None:
    state = state_after(
        begun("1", "2"),
        task_started("1"),
        finished("failed"),
        task_started("2"),
        finished("failed", task="2"),
    )
    assert is_reason_of_a_task(run_ended_fact("failed", reason), state) == is_said
    assert not is_reason_of_a_task(run_ended_fact("parked", reason), state)
