"""The base run through the real command: a red guard, and `run --base`."""

import json

import pytest
from e2e_kit import REPORT, Scene, plan, task

pytestmark = pytest.mark.docker

AGENT = ("--agent-command", "bash agent.sh")
RED = ("-c", 'verify.task=["echo checked; nosuchprogram --all"]')
GREEN = ("-c", 'verify.task=["test -e README.md"]')


def begin(scene: Scene) -> None:
    scene.write("README.md", "A project\n")
    agent = f"{REPORT}\necho x > made.txt\nreport completed\n"
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh=agent)


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["text", "json"])
def test_a_red_guard_is_refused_with_nothing_on_standard_output(scene: Scene, words: tuple[str, ...]) -> None:
    begin(scene)
    refused = scene.orchestrator("run", "plan.md", *words, *RED, *AGENT)
    assert (refused.exit_code, refused.stdout) == (2, b""), refused
    for expected in (
        "echo checked; nosuchprogram --all: exit code 127 (evidence e1)",
        ": nosuchprogram: command not found",
        "Missing prerequisite: the program nosuchprogram. Add it to the image with image.packages",
        "-c verify.base=no_worse",
    ):
        assert expected in refused.err, refused.err
    (run,) = json.loads(scene.orchestrator("history", "--json").stdout)["runs"]
    assert (run["status"], run["exit_code"], run["cause"]) == ("failed", 2, "base_red")
    assert f"orchestrator logs {run['run']} --evidence e1" in refused.err
    shown = scene.orchestrator("logs", run["run"], "--evidence", "e1")
    assert shown.out.startswith("checked\n"), shown
    assert scene.orchestrator("resume").exit_code == 2
    assert scene.git("branch", "--list", "work") == "" and scene.containers() == []


def test_the_base_alone_is_a_table_or_an_object(scene: Scene) -> None:
    begin(scene)
    done = scene.orchestrator("run", "plan.md", "--base", "--json", *GREEN, *AGENT)
    assert done.exit_code == 0, done
    shown = json.loads(done.stdout)
    assert set(shown) == {"schema", "run", "plan", "commit", "image", "gates"}
    assert (shown["schema"], shown["plan"], shown["commit"]) == (1, "plan.md", scene.git("rev-parse", "HEAD"))
    rows = [(row["task"], row["source"], row["before"], row["exit_code"]) for row in shown["gates"]]
    assert rows == [(None, "configured", "already_green", 0), ("1", "task", "red", 1)]
    again = scene.orchestrator("run", "plan.md", "--base", *GREEN, *AGENT)
    assert again.exit_code == 0 and "passes, as" in again.out and "fails" in again.out, again
    assert "base    guard-1" in again.err
    assert scene.git("branch", "--list", "work") == "" and scene.containers() == []
    carried_out = scene.orchestrator("run", "plan.md", "--json", *GREEN, *AGENT)
    assert carried_out.exit_code == 0, carried_out
    assert carried_out.of("base_checked")[0]["reused"] == f"{shown['run']}/e1"
    assert carried_out.events[0]["kind"] == "run_started"
