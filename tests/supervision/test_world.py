"""Whatever agents, gates, people and kills do, the policy keeps its promises."""

import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))  # for scripted_world

from scripted_world import World, check_promises

from orchestrator.run.state import fold
from orchestrator.supervision.decide import Work, WorkItem

RESUMES = 3


@st.composite
def plans(draw: st.DrawFn) -> Work:
    items = tuple(
        WorkItem(
            id=str(number),
            depends_on=(),
            commands=("make check", "make test")[: draw(st.integers(0, 2))],
            must_change=draw(st.booleans()),
        )
        for number in range(1, draw(st.integers(1, 3)) + 1)
    )
    scenario = ("make e2e",) if draw(st.booleans()) else ()
    return Work(items=items, end_to_end=scenario, attempts=draw(st.integers(1, 3)))


@settings(max_examples=300)
@given(plans(), st.integers(0, 4), st.data())
def test_every_world_keeps_the_promises(work: Work, lives: int, data: st.DataObject) -> None:
    def dice(name: str, sides: int) -> int:
        return data.draw(st.integers(0, sides - 1), label=name)

    world = World(work, dice, lives=lives)
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
