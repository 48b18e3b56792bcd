"""`--detach`: the run continues without the terminal in which it was started."""

import json
import os
import shlex
import signal
import subprocess  # noqa: TID251 - the command is started by a shell that is killed
import time
from contextlib import suppress
from pathlib import Path

import pytest
from e2e_kit import AGENT, PATIENCE, REPORT, Scene, plan, task, waiting_for

pytestmark = pytest.mark.docker

AGENT_SH = f"{REPORT}\n{waiting_for('/workspace/go')}\necho x >> made.txt\nreport completed\n"


def begin(scene: Scene) -> None:
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh=AGENT_SH)
    scene.write(".git/info/exclude", "go\n")


def detach_in_a_shell_that_is_killed(scene: Scene, *words: str) -> str:
    """Kill the command's process group and return its standard output so far."""
    command = shlex.join([*scene.caller.program, *words, *AGENT])
    shell = subprocess.Popen(
        ["bash", "-c", f"trap '' INT; exec 7</dev/null; echo \"[$({command})]\"; sleep 1000"],
        cwd=scene.folder,
        env=scene.environment({}),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert shell.stdout is not None
    printed = shell.stdout.readline().decode()
    os.killpg(shell.pid, signal.SIGKILL)
    shell.communicate()
    return printed.strip()[1:-1]


def read_descriptors(process: int) -> dict[int, str]:
    """The open files of a process by their number."""
    found = {}
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found[int(descriptor.name)] = str(descriptor.readlink())
    return found


def list_inherited(process: int) -> set[int]:
    """The descriptors of /dev/null, besides standard input, that a process keeps open.

    The shell had one. A process that starts a program opens another for a moment, so only one that is there
    every time counts.
    """
    inherited = {descriptor for descriptor in read_descriptors(process) if descriptor > 2}
    for _ in range(20):
        opened = read_descriptors(process)
        inherited &= {descriptor for descriptor, path in opened.items() if path == "/dev/null"}
        if not inherited:
            break
        time.sleep(0.1)
    return inherited


def test_it_outlives_its_shell_and_is_stopped_resumed_and_finished(scene: Scene) -> None:
    begin(scene)
    event = json.loads(detach_in_a_shell_that_is_killed(scene, "run", "plan.md", "--detach", "--json"))
    assert (event["kind"], event["n"]) == ("run_started", 1)
    run, owner = event["run"], scene.status(event["run"])["owner"]["pid"]
    opened = read_descriptors(owner)
    output = str(scene.run_folder(run) / "output")
    assert (opened[0], opened[1], opened[2]) == ("/dev/null", output, output)
    assert os.getsid(owner) == owner and list_inherited(owner) == set()
    os.kill(owner, signal.SIGINT)
    stopped = scene.orchestrator("watch", run, "--exit-status")
    assert stopped.exit_code == 130 and scene.status(run)["status"] == "interrupted", stopped
    assert detach_in_a_shell_that_is_killed(scene, "resume", run, "--detach") == run
    scene.write("go", "")
    finished = scene.orchestrator("watch", run, "--exit-status")
    assert finished.exit_code == 0 and scene.status(run)["status"] == "completed", finished
    assert "next: git diff" in (scene.run_folder(run) / "output").read_text()
    again = scene.orchestrator("run", "plan.md", "--detach", *AGENT)
    assert (again.exit_code, again.out) == (0, f"{run}\n"), again
    assert "next: git diff" in again.err


def test_what_is_refused_before_the_work_is_reported_as_without_it(scene: Scene) -> None:
    begin(scene)
    red = ("-c", 'verify.task=["false"]')
    refused = scene.orchestrator("run", "plan.md", "--detach", *AGENT, *red)
    assert (refused.exit_code, refused.stdout) == (2, b""), refused
    assert "false: exit code 1 (evidence e1)" in refused.err
    missing = scene.orchestrator("run", "no.md", "--detach", *AGENT)
    assert (missing.exit_code, missing.stdout) == (2, b"") and "no.md" in missing.err, missing
    both = scene.orchestrator("run", "plan.md", "--detach", "--base", *AGENT)
    assert both.exit_code == 2 and "--base cannot be combined with --detach" in both.err


def test_a_request_to_stop_reaches_a_run_that_has_not_begun_to_work(scene: Scene) -> None:
    begin(scene)
    slow = ("-c", 'verify.task=["touch /tmp/here; sleep 1000"]')
    with scene.start("run", "plan.md", "--detach", *AGENT, *slow) as command:
        deadline = time.monotonic() + PATIENCE
        while not scene.containers() and time.monotonic() < deadline:
            time.sleep(0.1)
        command.send(signal.SIGINT)
        done = command.finish()
    assert (done.exit_code, done.stdout) == (130, b""), done
    assert scene.containers() == []
