"""In every order of events by agents, gates, users and kills, policy and runner keep their promises."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from plan_makers import checks
from scripted_world import ENDS, Dice, World, check_promises, put_in_order

from orchestrator.run.state import fold
from orchestrator.supervision.decide import ChangeRule, Work, WorkItem

RESUMES = 3


@st.composite
def plans(draw: st.DrawFn, workers: int) -> Work:
    tasks = [str(number) for number in range(1, draw(st.integers(1, 2 + workers)) + 1)]
    said = st.none() | st.lists(st.sampled_from(tasks), max_size=2).map(tuple)
    items = []
    for before, task in zip(("", *tasks), tasks, strict=False):
        named = draw(said)
        items.append(
            WorkItem(
                id=task,
                depends_on=named if named is not None else (before,) if before else (),
                names_no_dependencies=named is None,
                checks=checks("make check", "make test")[: draw(st.integers(0, 2))],
                change=draw(st.sampled_from(get_args(ChangeRule))),
            )
        )
    scenario = checks("make e2e") if draw(st.booleans()) else ()
    return Work(
        items=tuple(items),
        end_to_end=scenario,
        attempts=draw(st.integers(1, 3)),
        failed_tasks=draw(st.integers(1, 3)),
        workers=workers,
    )


@pytest.mark.parametrize("workers", [1, 2])
@settings(max_examples=150)
@given(data=st.data())
def test_every_world_keeps_the_promises(workers: int, data: st.DataObject) -> None:
    # Dice that Hypothesis throws one by one would have to be thrown in the same order in each replay.
    work, seed = data.draw(plans(workers)), data.draw(st.integers(0, 2**32))
    world = World(work, Dice(seed), lives=data.draw(st.integers(0, 4)))
    end = world.live()
    for _ in range(RESUMES):
        check_promises(world)
        if end.status == "completed":
            break
        world.resume()
        end = world.live()
    check_promises(world)
    assert world.state == fold(world.facts)
    everything = len(world.branch) == len(work.items)
    assert (end.status == "completed") <= everything
    assert everything or end.status in ("failed", "waiting", "parked")


def test_what_one_throws_does_not_depend_on_the_order_of_the_others() -> None:
    throws = [(thrower, "die") for thrower in "abc" for _ in range(20)]
    faces = []
    for order in (throws, throws[::-1], sorted(throws, key=lambda throw: throw[0] == "a")):
        dice = Dice(1)
        thrown: dict[str, list[int]] = {}
        for thrower, name in order:
            thrown.setdefault(thrower, []).append(dice(thrower, name, 6))
        faces.append(thrown)
    assert faces[0] == faces[1] == faces[2]
    assert len({tuple(each) for each in faces[0].values()}) == 3


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_always_gives_the_same_world(seed: int) -> None:
    first, second = (World(DIAMOND, Dice(seed), lives=4) for _ in range(2))
    assert first.live() == second.live()
    assert first.facts == second.facts


ITEM = WorkItem(id="1", depends_on=(), checks=checks("make check"), change="required")
DIAMOND = Work(
    items=(
        ITEM,
        replace(ITEM, id="2", depends_on=("1",)),
        replace(ITEM, id="3", depends_on=("1",)),
        replace(ITEM, id="4", depends_on=("2", "3")),
    ),
    end_to_end=checks("make e2e"),
    attempts=1,
    workers=2,
)
CHAIN = replace(DIAMOND, items=put_in_order(DIAMOND.items))
CALM = {"ends": len(ENDS), "changed": 1}
"""Everything succeeds: of the other dice the first face is the good one."""
FATES = {
    "all goes well": (CALM, "completed"),
    "the scenario fails": (CALM | {"scenario": 1}, "failed"),
    "gates fail": (CALM | {"verdict": 3}, "failed"),
    "a gate cannot be run": (CALM | {"verdict": 4}, "parked"),
    "agents ask": (CALM | {"ends": ENDS.index("needs_human")}, "waiting"),
    "the provider refuses": (CALM | {"ends": ENDS.index("parked")}, "parked"),
}


def fated(work: Work, faces: dict[str, int], *, seed: int, killed_at: int | None = None) -> World:
    """A world in which only the order of what happens at the same time is left to chance."""
    chance = Dice(seed)
    facts = 0

    def dice(thrower: str, name: str, sides: int) -> int:
        nonlocal facts
        if name == "turns":
            return 1 + chance(thrower, name, sides - 1)
        if name == "killed":
            facts += 1
            return 11 if facts == killed_at else 0
        return faces.get(name, 0)

    return World(work, dice, lives=1)


@pytest.mark.parametrize("seed", range(20))
def test_independent_tasks_are_worked_on_at_the_same_time_and_dependent_ones_are_not(seed: int) -> None:
    for work, at_once in ((DIAMOND, 2), (CHAIN, 1)):
        world = fated(work, CALM, seed=seed)
        assert world.live().status == "completed"
        check_promises(world)
        assert world.most_at_once == at_once
        landed = [commit.partition("@")[0] for commit in world.branch]
        assert (landed[0], sorted(landed), landed[-1]) == ("1", ["1", "2", "3", "4"], "4")


@pytest.mark.parametrize("work", [replace(DIAMOND, workers=1), DIAMOND], ids=["one worker", "two workers"])
@pytest.mark.parametrize(("faces", "expected"), FATES.values(), ids=FATES)
def test_a_kill_at_any_fact_and_a_resume_give_the_same_end(
    work: Work, faces: dict[str, int], expected: str
) -> None:
    undisturbed = fated(work, faces, seed=1)
    assert undisturbed.live().status == expected
    for killed_at in range(1, len(undisturbed.facts) + 1):
        world = fated(work, faces, seed=killed_at, killed_at=killed_at)
        assert world.live().status == expected, f"killed at {killed_at}"
        check_promises(world)
        assert (expected != "completed") or len(world.branch) == len(work.items)
