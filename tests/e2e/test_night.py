"""A whole night in minutes: ten tasks under `nohup`, with the real Claude Code in real containers.

`make night` runs it. `KTRDR_WRITE_SESSIONS=1` stores what is printed, of which docs/overnight.md shows parts.
"""

import os
import re
import signal
import subprocess  # noqa: TID251 - a shell starts the command
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from e2e_kit import Done, MakeScene, Scene, bash, outcome, plan, script, task
from fake_provider import CANARY, FakeProvider, provider
from night_kit import NIGHT, STORED, list_shown, night_plan
from sessions import FOLDER, blur

from orchestrator.text import utc_text

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

NIGHT_SECONDS = 240
"""From the start to the time of `--until`; by then everything that can be done has been done."""
CHECK = """\
if test "$1" = 3 && ! test -e format.txt; then
  echo "FAILED test_writing.py::test_format - the format has no version"
  exit 1
fi
test -s "task-$1.txt"
"""
HALF = bash("echo half > task-3.txt; echo 'what I tried' > notes.txt")
ASKS = outcome("needs_human", question="Which login?", options=["passwords", "keys"], recommendation="keys")
STEPS = {
    **{f"t{id}": [bash(f"echo {id} > task-{id}.txt"), outcome()] for id in NIGHT},
    "t3": [HALF, outcome(), HALF, outcome(), bash("echo 'version 1' > format.txt"), outcome()],
    "t6": [bash("echo '?' > login.txt"), ASKS, bash("echo keys > task-6.txt"), outcome()],
}


class Night:
    """A repository, a provider of the model, and what a user sees in the shell."""

    def __init__(self, scene: Scene, fake: FakeProvider) -> None:
        self.scene, self.fake = scene, fake
        self.log = scene.area / "home" / "night.log"
        self.text = ""
        scene.settings.update(
            CLAUDE_CODE_OAUTH_TOKEN=CANARY,
            ORCHESTRATOR_GATEWAY_UPSTREAM=fake.url,
            PATH=f"{Path(scene.caller.program[0]).parent}:{os.environ['PATH']}",
        )

    @contextmanager
    def start(self, line: str) -> Iterator[None]:
        """A command in the background of a shell that has a session of its own, as at a terminal."""
        self.text += f"$ {line}\n\n"
        self.shell = shell = subprocess.Popen(
            ["bash", "-c", f"{line} wait $!"],
            cwd=self.scene.folder,
            env=self.scene.environment({}),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
            shell.wait()

    def type(self, line: str, *, shows: bool = True) -> Done:
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.scene.folder, env=self.scene.environment({}), capture_output=True
        )
        typed = Done(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)
        if shows:
            code = f"(exit {typed.exit_code})\n" if typed.exit_code else ""
            self.text += f"$ {line}\n{typed.out}{typed.err}{code}\n"
        return typed

    def wait_for_line(self, pattern: str) -> None:
        deadline = time.monotonic() + 2 * NIGHT_SECONDS
        while not (self.log.exists() and re.search(pattern, self.log.read_text(), re.MULTILINE)):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)


@pytest.fixture
def night(new_scene: MakeScene) -> Iterator[Night]:
    scene = new_scene()
    with provider(script(**STEPS)) as fake:
        yield Night(scene, fake)


def zone_in_which_it_is_seven(moment: datetime) -> str:
    """A time zone in which it is 07:00 at this moment."""
    seven = moment.replace(hour=7, minute=0, second=0)
    ahead = (seven - moment).total_seconds()
    ahead -= 86_400 * round(ahead / 86_400)
    hours, rest = divmod(abs(int(ahead)), 3600)
    return f"CET{'-' if ahead >= 0 else '+'}{hours}:{rest // 60:02}:{rest % 60:02}"


def test_a_night_with_a_failure_a_question_and_a_limit(night: Night) -> None:
    scene, fake = night.scene, night.fake
    settings = "[limits]\nattempts = 2\n"
    scene.commit(plan__md=night_plan(), check__sh=CHECK, orchestrator__toml=settings)
    fake.limited["8"] = 20
    morning = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=NIGHT_SECONDS)
    scene.settings["TZ"] = zone_in_which_it_is_seven(morning)
    with night.start("nohup orchestrator run plan.md --wait --until 07:00 >~/night.log 2>&1 &"):
        night.wait_for_line(r"waits   until .*usage limit")
        os.killpg(night.shell.pid, signal.SIGHUP)  # the terminal is closed
        parked = scene.status("plan.md")
        assert (parked["status"], parked["cause"]) == ("parked", "usage_limit")
        assert parked["owner"] is not None and scene.containers() == []
        assert parked["until"] == utc_text(datetime.fromtimestamp(fake.resets["8"], UTC))
        night.type("orchestrator status plan.md")
        night.wait_for_line(r"waits   until its question is answered")
        assert scene.status("plan.md")["status"] == "waiting"
        night.wait_for_line(r"^next: ")
    night.type("cat ~/night.log")
    assert night.log.read_text().count("base    task 1: ") == 1
    ended = scene.status("plan.md")
    assert (ended["status"], ended["cause"], ended["owner"]) == ("parked", "until", None)
    assert {each["task"]: each["status"] for each in ended["tasks"]} == {
        **dict.fromkeys(("1", "2", "5", "8", "9", "10"), "completed"),
        **{"3": "failed", "4": "pending", "6": "waiting", "7": "pending"},
    }
    assert not (scene.folder / "notes.txt").exists() and not (scene.folder / "login.txt").exists()
    night.type("orchestrator status plan.md")
    night.type("orchestrator answer plan.md --recommended")
    assert night.type("orchestrator resume plan.md").exit_code == 0, night.text

    statuses = {each["task"]: each for each in scene.status("plan.md")["tasks"]}
    assert scene.git("show", "archive:notes.txt") == "what I tried"
    assert scene.git("show", "archive:login.txt") == "?"
    assert scene.git("status", "--porcelain") == "" and scene.containers() == []
    parked, again = statuses["8"]["attempts"]
    assert (parked["status"], again["status"]) == ("parked", "completed")
    assert parked["session"] == again["session"]
    asked, answered = statuses["6"]["attempts"]
    assert asked["session"] == answered["session"]
    if "KTRDR_WRITE_SESSIONS" in os.environ:
        STORED.write_text(night.text.replace(str(scene.folder), FOLDER), "utf-8")
    lines = set(blur(night.text))
    assert [line for part in list_shown() for line in blur(part) if line not in lines] == []


def test_a_process_that_is_stopped_over_the_end_of_its_wait(night: Night) -> None:
    """As on a laptop that is closed before the limit ends, and opened after it."""
    scene, fake = night.scene, night.fake
    scene.commit(plan__md=plan(task("1", "test -s task-1.txt")))
    fake.limited["1"] = 20
    with scene.start("run", "plan.md", "--wait", "--json", "-c", "limits.attempts=1") as command:
        until = command.until("run_waiting")["until"]
        command.send(signal.SIGSTOP)
        time.sleep(fake.resets["1"] + 21 - time.time())  # the jitter is as long as the wait at most
        command.send(signal.SIGCONT)
        before = time.monotonic()
        command.until("attempt_started")
        assert time.monotonic() - before < 10
        done = command.finish()
    assert done.exit_code == 0, done
    (limit,) = done.of("limit_seen")
    assert until == limit["until"] == utc_text(datetime.fromtimestamp(fake.resets["1"], UTC))
    (parked, completed) = scene.status(done.run)["tasks"][0]["attempts"]
    assert (parked["status"], completed["status"]) == ("parked", "completed")
    assert parked["session"] == completed["session"] and len(done.of("run_waiting")) == 1
