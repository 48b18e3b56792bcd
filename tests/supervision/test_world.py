"""Whatever agents, gates, people and kills do, policy and runner keep their promises."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))  # for scripted_world

from scripted_world import World, check_promises

from orchestrator.run.state import fold
from orchestrator.supervision.decide import Work, WorkItem

RESUMES = 3


@st.composite
def plans(draw: st.DrawFn, workers: int) -> Work:
    tasks = [str(number) for number in range(1, draw(st.integers(1, 2 + workers)) + 1)]
    said = st.none() | st.lists(st.sampled_from(tasks), max_size=2).map(tuple)
    items = tuple(
        WorkItem(
            id=task,
            depends_on=draw(said),
            commands=("make check", "make test")[: draw(st.integers(0, 2))],
            must_change=draw(st.booleans()),
        )
        for task in tasks
    )
    scenario = ("make e2e",) if draw(st.booleans()) else ()
    return Work(items=items, end_to_end=scenario, attempts=draw(st.integers(1, 3)), workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
@settings(max_examples=150)
@given(data=st.data())
def test_every_world_keeps_the_promises(workers: int, data: st.DataObject) -> None:
    def dice(name: str, sides: int) -> int:
        return data.draw(st.integers(0, sides - 1), label=name)

    work = data.draw(plans(workers))
    world = World(work, dice, lives=data.draw(st.integers(0, 4)))
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
