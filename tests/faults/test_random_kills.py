"""A run of six tasks in real containers, killed at random instants and resumed: nothing lost, nothing twice.

FAULTS=whole (`make soak`) makes every round; without it a short one is made.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from e2e_kit import AGENT, MakeScene, Scene
from kill_kit import (
    KINDS,
    CreatedContainers,
    Killed,
    check_each_once,
    make_scene_with_tasks,
    watch_created_containers,
)

pytestmark = pytest.mark.docker

WHOLE = {"at work": 30, "in gates": 30, "git works": 20, "container ended": 10, "at start": 10}
SHORT = {"at work": 1, "container ended": 1}
IS_WHOLE = os.environ.get("FAULTS") == "whole"
TASKS = [str(number) for number in range(1, 7 if IS_WHOLE else 3)]
KILLS_A_ROUND = 10
MOST_RUNS = 10
"""Of one round."""


def deal(kills: dict[str, int]) -> list[list[str]]:
    """All kills in random order, in rounds."""
    dice = random.Random(11)
    waiting = [kind for kind, times in kills.items() for _ in range(times)]
    dice.shuffle(waiting)
    return [waiting[start : start + KILLS_A_ROUND] for start in range(0, len(waiting), KILLS_A_ROUND)]


ROUNDS = deal(WHOLE if IS_WHOLE else SHORT)


@pytest.fixture(scope="module")
def created() -> Iterator[CreatedContainers]:
    with watch_created_containers() as created:
        yield created


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(len(ROUNDS)))
def test_random_kills_lose_nothing_and_repeat_nothing(
    new_scene: MakeScene,
    created: CreatedContainers,
    record_property: Callable[[str, object], None],
    number: int,
) -> None:
    dice = random.Random(number)
    waiting = list(ROUNDS[number])
    killed: Counter[str] = Counter()
    runs = 0
    while waiting:
        scene, runs = make_scene_with_tasks(new_scene, TASKS), runs + 1
        assert runs <= MOST_RUNS
        while waiting and kill_once(scene, waiting[0], dice):
            killed[waiting.pop(0)] += 1
        done = scene.run(*AGENT)
        assert done.exit_code == 0, done
        check_each_once(scene, created, TASKS)
        scene.clear()
    record_property("kills", dict(killed))
    record_property("runs", runs)


def kill_once(scene: Scene, kind: str, dice: random.Random) -> bool:
    command = dice.choice(("run", "resume")) if scene.state_id is not None else "run"
    return Killed(scene, command, "plan.md", *AGENT).kill_at(KINDS[kind], dice)
