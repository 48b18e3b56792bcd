"""`orchestrator trust`, and what a run, `doctor` and `resume` make of it."""

import json
import os
from pathlib import Path

import pytest
from at_terminal_kit import at_terminal
from e2e_kit import AGENT, REPORT, Done, Scene, plan, task

MOUNT = '[[mounts]]\nsource = "/srv"\ntarget = "/host"\nread_only = true\n'
CHECK = "[[environment.checks]]\nrun = '{run}'\nhint = 'start the database'\n"
PROMPT = "[y/N] "


def start(scene: Scene, settings: str) -> None:
    agent = f"{REPORT}\necho x > made.txt\nreport completed\n"
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh=agent, orchestrator__toml=settings)


def checks(scene: Scene) -> dict[str, dict[str, str]]:
    found = json.loads(scene.orchestrator("doctor", "--json").stdout)
    return {check["name"]: check for check in found["checks"]}


def approvals(scene: Scene) -> list[Path]:
    return list((scene.state / "trust").glob("*"))


def refused(done: Done, *words: str) -> None:
    assert (done.exit_code, done.stdout) == (2, b""), done
    for word in words:
        assert word in done.err, done


def test_shows_every_value_whole_and_asks(scene: Scene) -> None:
    start(scene, MOUNT + "[image]\nname = 'other'\n[limits]\nattempts = 2\n")
    done = at_terminal(scene, "trust", typed={PROMPT: "y\n"})
    assert done.exit_code == 0, done
    for word in (
        "orchestrator.toml:1: mounts",
        '{"read_only": true, "source": "/srv", "target": "/host"}',
        "because a mount shows files of the host",
        "orchestrator.toml:6: image.name",
        '"other"',
    ):
        assert word in done.out, done
    assert "limits.attempts" not in done.out
    (record,) = approvals(scene)
    assert record.stat().st_mode & 0o777 == 0o600
    again = scene.orchestrator("trust")
    assert again.exit_code == 0 and "Nothing to approve" in again.out, again


@pytest.mark.parametrize("answer", ["n\n", "\n", "yess\n", "\x04"], ids=["no", "nothing", "not yes", "end"])
def test_only_yes_approves(scene: Scene, answer: str) -> None:
    start(scene, MOUNT)
    done = at_terminal(scene, "trust", typed={PROMPT: answer})
    assert done.exit_code == 1 and "Nothing was approved" in done.out, done
    assert approvals(scene) == []


def test_without_a_terminal_it_shows_and_names_the_flag(scene: Scene) -> None:
    start(scene, MOUNT)
    done = scene.orchestrator("trust")
    assert done.exit_code == 2 and "/srv" in done.out and "trust --yes" in done.err, done
    assert approvals(scene) == []


def test_yes_asks_nothing(scene: Scene) -> None:
    start(scene, MOUNT)
    assert checks(scene)["trust"]["status"] == "failed"
    assert checks(scene)["trust"]["mend"] == "orchestrator trust"
    assert scene.orchestrator("trust", "--yes").exit_code == 0
    assert checks(scene)["trust"]["status"] == "ok"


def test_nothing_to_approve(scene: Scene) -> None:
    start(scene, "[limits]\nattempts = 2\n")
    done = scene.orchestrator("trust")
    assert done.exit_code == 0 and "Nothing to approve" in done.out, done
    assert not scene.state.exists()


def test_a_change_is_shown_item_by_item(scene: Scene) -> None:
    start(scene, MOUNT)
    assert scene.orchestrator("trust", "--yes").exit_code == 0
    scene.write("orchestrator.toml", MOUNT + '[[mounts]]\nsource = "/etc"\ntarget = "/b"\n')
    refused(scene.run(*AGENT), "orchestrator.toml:1", "has changed since you approved it", "/etc", "- ", "+ ")
    shown = scene.orchestrator("trust").out.splitlines()
    assert '    + {"source": "/etc", "target": "/b"}' not in shown
    assert '  + {"source": "/etc", "target": "/b"}' in shown, shown
    assert '    {"read_only": true, "source": "/srv", "target": "/host"}' in shown, shown


def test_control_codes_of_a_value_are_shown_and_not_obeyed(scene: Scene) -> None:
    start(scene, CHECK.replace("'{run}'", '"true # \\u202e\\tx"'))
    done = scene.orchestrator("trust")
    assert "\\u202e" in done.out and "\u202e" not in done.out, done


def test_outside_of_a_repository(scene: Scene) -> None:
    refused(scene.orchestrator("trust", "--yes", cwd=scene.area), "root", "git init")


def test_state_folder_in_the_code_folder(scene: Scene) -> None:
    start(scene, MOUNT)
    done = scene.orchestrator("trust", "--yes", XDG_STATE_HOME=str(scene.folder))
    assert done.exit_code == 2 and "XDG_STATE_HOME" in done.err, done


@pytest.mark.docker
def test_a_run_takes_what_was_approved(scene: Scene) -> None:
    start(scene, CHECK.format(run="touch ../checked"))
    before = scene.picture()
    refused(scene.run(*AGENT), "environment.checks", "orchestrator trust")
    assert scene.picture() == before and not (scene.area / "checked").exists()
    assert scene.orchestrator("trust", "--yes").exit_code == 0
    done = scene.run(*AGENT)
    assert done.exit_code == 0, done
    assert (scene.area / "checked").exists()


@pytest.mark.docker
def test_resume_keeps_what_the_run_was_started_with(scene: Scene) -> None:
    start(scene, "[environment]\nrequired_files = ['plan.md']\n" + CHECK.format(run="test ! -e ../stop"))
    scene.commit(agent__sh=f"{REPORT}\nreport failed no\n")
    assert scene.orchestrator("trust", "--yes").exit_code == 0
    first = scene.run(*AGENT, "-c", "limits.attempts=1")
    assert first.exit_code == 1, first
    (scene.area / "stop").touch()
    refused(scene.orchestrator("resume", "--json"), "test ! -e ../stop", "start the database")


CHECKS = {
    "fails": ("echo one; echo two >&2; exit 3", ["failed (exit 3)", "one", "two"]),
    "takes too long": ("sleep 60", ["longer than 1 s"]),
    "leaves a process and takes too long": ("setsid sleep 60 & sleep 50", ["longer than 1 s"]),
    "prints much": ("seq 100000; false", ["99999", "100000"]),
    "prints codes": ('printf "\\033[31mred\\033[0m\\n"; false', ["red"]),
    "asks": ("read answer", ["failed (exit 1)"]),
    "not a command": ("no-such-command-here", ["failed (exit 127)", "no-such-command-here"]),
    "not bash": ("if", ["failed (exit 2)"]),
}


@pytest.mark.parametrize(("run", "words"), CHECKS.values(), ids=CHECKS)
def test_a_check_that_does_not_succeed(scene: Scene, run: str, words: list[str]) -> None:
    start(scene, CHECK.format(run=run) + "timeout = 1\n")
    assert scene.orchestrator("trust", "--yes").exit_code == 0
    before = scene.picture()
    done = scene.run(*AGENT)
    refused(done, "environment.checks", "start the database", *words)
    assert len(done.err.splitlines()) <= 10 and "\x1b" not in done.err
    assert scene.picture() == before
    assert not scene.ever_started()


def test_a_check_runs_in_the_code_folder_as_the_caller(scene: Scene) -> None:
    start(scene, CHECK.format(run='test "$PWD:$(id -u)" = "$EXPECTED" && false'))
    assert scene.orchestrator("trust", "--yes").exit_code == 0
    expected = f"{scene.folder}:{os.geteuid()}"
    refused(scene.run(*AGENT, EXPECTED=expected), "failed (exit 1)")


BAD_CHECKS = {
    "a string": ("checks = ['true']", "a list of tables"),
    "no list": ("checks = 'true'", "[[environment.checks]]"),
    "without run": ("checks = [{hint = 'x'}]", "run"),
    "an unknown key": ("checks = [{run = 'true', time = 3}]", "'time'"),
    "no time": ("checks = [{run = 'true', timeout = 0}]", "timeout"),
    "no text": ("checks = [{run = ['true']}]", "run"),
}


@pytest.mark.parametrize(("line", "word"), BAD_CHECKS.values(), ids=BAD_CHECKS)
def test_checks_of_the_wrong_form(scene: Scene, line: str, word: str) -> None:
    start(scene, f"[environment]\n{line}\n")
    refused(scene.run(*AGENT), "orchestrator.toml:2", "environment.checks", word)
