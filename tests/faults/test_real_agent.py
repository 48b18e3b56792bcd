"""The real Claude Code with a scripted model, killed in mid-turn: the same session, and each step once.

Only FAULTS=whole (`make soak`) makes these; tests/e2e/test_stopping.py has one such kill.
"""

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from e2e_kit import MakeScene, Scene, bash, outcome, plan, script, task
from kill_kit import CreatedContainers, check_nothing_left, watch_created_containers

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.environ.get("FAULTS") != "whole", reason="FAULTS=whole, takes minutes"),
]

KILLS = 10
STEPS = 80
SECONDS = 0.6
"""Each answer of the model takes so long, so most kills come while the agent waits for one."""
SCRIPTED = ("-c", "gateway.scripted=model.json", "-c", "agent.max_turns=1000")


@pytest.fixture(scope="module")
def created() -> Iterator[CreatedContainers]:
    with watch_created_containers() as created:
        yield created


def make_scene_with_claude(new_scene: MakeScene) -> Scene:
    scene = new_scene()
    scratch = scene.area / "tmp"
    scratch.mkdir()
    scene.settings["TMPDIR"] = str(scratch)
    steps = [{**bash(f"echo step {number} >> made.txt"), "delay": SECONDS} for number in range(STEPS)]
    model = script(t1=[*steps, outcome()])
    scene.commit(plan__md=plan(task("1", f"test $(wc -l < made.txt) = {STEPS}")), model__json=model)
    return scene


@pytest.mark.timeout(900)
@pytest.mark.parametrize("with_gateway", [False, True], ids=["orchestrator", "orchestrator and gateway"])
def test_an_agent_in_mid_turn_notices_no_kill(
    new_scene: MakeScene,
    created: CreatedContainers,
    record_property: Callable[[str, object], None],
    with_gateway: bool,
) -> None:
    scene, dice = make_scene_with_claude(new_scene), random.Random(3)
    for _ in range(KILLS):
        with scene.start("run", "plan.md", "--json", *SCRIPTED) as command:
            started = command.until("container_started" if not scene.gateways() else "attempt_adopted")
            time.sleep(dice.uniform(0, 2 * SECONDS))
            # The gateway first, half of the times: then the orchestrator may be about to start another one.
            if with_gateway and dice.random() < 0.5:
                scene.kill_gateway()
            command.send(signal.SIGKILL)
            assert command.finish().exit_code == -signal.SIGKILL
        if with_gateway and is_alive(scene.gateways()[-1]):
            scene.kill_gateway()
    done = scene.run(*SCRIPTED)
    assert done.exit_code == 0, done
    check_once(scene, created, started["run"])
    record_property("kills", {f"mid-turn, {'with' if with_gateway else 'without'} the gateway": KILLS})
    record_property("runs", 1)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def check_once(scene: Scene, created: CreatedContainers, run: str) -> None:
    (shown,) = scene.status(run)["tasks"]
    (attempt,) = shown["attempts"]
    assert (attempt["status"], attempt["adopted"]) == ("completed", KILLS)
    assert created.of(scene, expected=1) == [attempt["container"]]
    expected = [f"step {number}" for number in range(STEPS)]
    assert (scene.folder / "made.txt").read_text().splitlines() == expected
    events = scene.orchestrator("watch", run, "--json").events
    tools = [event["summary"] for event in events if event["kind"] == "agent_tool"]
    reported = [found[0] for summary in tools if (found := re.search(r"step \d+", summary))]
    assert reported == expected
    kinds = Counter(event["kind"] for event in events)
    assert kinds["attempt_started"] == kinds["container_created"] == kinds["attempt_ended"] == 1
    # The log has one line for each request that a gateway has answered, unless it was killed at that moment.
    answered = (scene.state / "gateway.log").read_text().count(" POST /v1/messages 200")
    lost = STEPS + 1 - answered
    assert 0 <= lost <= len(scene.gateways()) - 1
    check_nothing_left(scene, run)
