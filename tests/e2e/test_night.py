"""A whole night in minutes: ten tasks under `nohup`, with the real Claude Code in real containers."""

import json
import os
import re
import signal
import subprocess  # noqa: TID251 - nohup starts the command
import time
from pathlib import Path

import pytest
from e2e_kit import MakeScene, Scene, bash, outcome, plan, script, task
from fake_provider import CANARY, provider

pytestmark = pytest.mark.docker

DEPENDS = {
    **{"1": "nothing", "2": "1", "3": "2", "4": "3"},
    **{"5": "nothing", "6": "5", "7": "6", "8": "5", "9": "nothing", "10": "1"},
}
STEPS = {
    **{f"t{id}": [bash(f"echo {id} > made-{id}.txt"), outcome()] for id in DEPENDS},
    "t3": [
        *(bash("echo half > made-3.txt; echo tried > notes.txt"), outcome()),
        *(bash("echo whole > whole.txt"), outcome()),
    ],
    "t6": [
        *(bash("echo asked > made-6.txt"), outcome("needs_human", question="Which?", recommendation="keys")),
        *(bash("echo keys >> made-6.txt"), outcome()),
    ],
}
CHECKS = {"3": "test -s whole.txt || { echo 'FAILED: it is not whole'; exit 1; }"}


def night(new_scene: MakeScene) -> Scene:
    scene = new_scene()
    tasks = [
        task(id, CHECKS.get(id, f"test -s made-{id}.txt"), depends=after) for id, after in DEPENDS.items()
    ]
    scene.commit(plan__md=plan(*tasks))
    return scene


def start(scene: Scene, output: Path, *words: str) -> "subprocess.Popen[bytes]":
    with output.open("wb") as log:
        return subprocess.Popen(
            ["nohup", *scene.caller.program, "run", "plan.md", "-c", "limits.attempts=1", *words],
            cwd=scene.folder,
            env=scene.environment({"CLAUDE_CODE_OAUTH_TOKEN": CANARY}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for_line(output: Path, pattern: str, *, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not re.search(pattern, output.read_text(), re.MULTILINE):
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.2)


def test_a_night_with_a_failure_a_question_and_a_limit(new_scene: MakeScene) -> None:
    scene = night(new_scene)
    output = scene.area / "night.log"
    with provider(script(**STEPS)) as fake:
        fake.limited["8"] = 20
        upstream = ("-c", f"gateway.upstream={fake.url}")
        run = start(scene, output, *upstream, "--wait", "--until", "10m")
        wait_for_line(output, r"waits   until .*usage.limit")
        os.killpg(run.pid, signal.SIGHUP)  # the terminal is closed
        parked = scene.status("plan.md")
        assert (parked["status"], parked["cause"], parked["owner"]["pid"]) == (
            "parked",
            "usage_limit",
            run.pid,
        )
        assert parked["until"] is not None and scene.containers() == []
        wait_for_line(output, r"waits   until its question is answered")
        assert run.poll() is None
        asking = scene.status("plan.md")
        assert (asking["status"], asking["owner"]["pid"]) == ("waiting", run.pid)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=60) == 130, output.read_text()

        last = output.read_text()[-4000:]
        assert "FAILED: it is not whole" not in last.splitlines()[-1]
        statuses = {each["task"]: each["status"] for each in scene.status("plan.md")["tasks"]}
        assert statuses == {
            **dict.fromkeys(("1", "2", "5", "8", "9", "10"), "completed"),
            **{"3": "failed", "4": "pending", "6": "waiting", "7": "pending"},
        }
        assert not (scene.folder / "notes.txt").exists()
        assert scene.orchestrator("answer", "plan.md", "--recommended").exit_code == 0
        done = scene.orchestrator("resume", "plan.md", *upstream, CLAUDE_CODE_OAUTH_TOKEN=CANARY)
    assert done.exit_code == 0, done
    assert scene.git("show", "work:notes.txt") == "tried"
    assert scene.git("show", "work:made-6.txt") == "asked\nkeys"
    assert scene.git("status", "--porcelain") == "" and scene.containers() == []
    (attempt, again) = next(each for each in scene.status("plan.md")["tasks"] if each["task"] == "8")[
        "attempts"
    ]
    assert (attempt["status"], again["status"]) == ("parked", "completed")
    assert attempt["session"] == again["session"]


def test_a_night_in_which_the_process_is_stopped_over_the_end_of_its_wait(new_scene: MakeScene) -> None:
    """As on a laptop that is closed before the limit ends and opened after it."""
    scene = new_scene()
    scene.commit(plan__md=plan(task("1", "test -s made-1.txt")))
    output = scene.area / "night.log"
    with provider(script(**STEPS)) as fake:
        fake.limited["1"] = 6
        run = start(scene, output, "-c", f"gateway.upstream={fake.url}", "--wait", "--json")
        wait_for_line(output, '"kind":"run_waiting"')
        run.send_signal(signal.SIGSTOP)
        time.sleep(20)
        run.send_signal(signal.SIGCONT)
        assert run.wait(timeout=120) == 0, output.read_text()
    events = [json.loads(line) for line in output.read_text().splitlines() if line.startswith("{")]
    assert [event["kind"] for event in events].count("run_waiting") == 1
