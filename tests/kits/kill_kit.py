"""Commands that are killed with SIGKILL at a chosen instant, and what must be true once the run has ended."""

import fcntl
import json
import os
import random
import signal
import subprocess  # noqa: TID251 - starts the command as a user's shell does
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e_kit import ENGINE, REPORT, MakeScene, Scene, plan, task

LINES = 30
# A line is printed in two writes, so that a reading can end in the middle of it; the last has no newline.
PRINTS = f"""{REPORT}
echo "$ORCHESTRATOR_TASK" >> "made-$ORCHESTRATOR_TASK.txt"
report completed
for number in $(seq 1 {LINES}); do
    printf 'line %s of' $number
    sleep 0.04
    test $number = {LINES} && printf ' the attempt' || printf ' the attempt\\n'
done
"""
PRINTED = [f"line {number} of the attempt" for number in range(1, LINES + 1)]

Event = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of instant at which the command is killed."""

    after: frozenset[str]
    """The events that such an instant follows; none: the start of the command."""
    within: float
    """The most seconds between event and kill."""
    while_git_works: bool = False
    """Whether the instant is one at which the command has a git process."""
    after_the_container: bool = False
    """Whether the container of the agent has ended first."""


KINDS = {
    "at work": Kind(after=frozenset({"container_started", "attempt_adopted", "agent_text"}), within=1.2),
    "in gates": Kind(after=frozenset({"gate_started", "base_checked"}), within=0.9),
    "git works": Kind(
        after=frozenset({"attempt_ended", "gate_ended", "task_started", "task_finished"}),
        within=0.01,
        while_git_works=True,
    ),
    "container ended": Kind(
        after=frozenset({"container_started", "attempt_adopted"}), within=0.2, after_the_container=True
    ),
    "at start": Kind(after=frozenset(), within=1.5),
}


class Killed:
    """A command whose events are read as they come, and that can be killed at an instant of a kind."""

    def __init__(self, scene: Scene, *words: str) -> None:
        self._scene = scene
        self._process = subprocess.Popen(
            [*scene.caller.program, *words, "--json"],
            cwd=scene.folder,
            env=scene.environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **scene.caller.identity,
        )

    def kill_at(self, kind: Kind, dice: random.Random) -> bool:
        """Kill the command; False if it ended before there was such an instant."""
        process = self._process
        with process:
            reached = self._reach(kind, dice)
            was_alive = process.poll() is None
            process.send_signal(signal.SIGKILL)
        return reached and was_alive

    def _reach(self, kind: Kind, dice: random.Random) -> bool:
        if kind.after and not self._pass_events(kind.after, dice.randint(1, 2)):
            return False
        if kind.after_the_container:
            for name in self._scene.containers():
                if name.startswith("ktrdr-coding-agent-"):
                    subprocess.run(["docker", "wait", name], capture_output=True)
        if kind.while_git_works and not self._wait_for_git(dice.randint(1, 20)):
            return False
        time.sleep(dice.uniform(0, kind.within))
        return True

    def _pass_events(self, wanted: frozenset[str], number: int) -> bool:
        """Whether so many of these events came before the run ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            kind = json.loads(line)["kind"]
            if kind == "run_ended":
                return False
            number -= kind in wanted
            if number == 0:
                return True
        return False

    def _wait_for_git(self, number: int) -> bool:
        """Return while the `number`th git process that is seen is alive."""
        seen: set[str] = set()
        while self._process.poll() is None:
            for child in list_children(self._process.pid):
                if child not in seen and read_name(child) == "git":
                    seen.add(child)
            if len(seen) >= number:
                return True
            time.sleep(0.0005)
        return False


def list_children(pid: int) -> list[str]:
    children: list[str] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += thread.read_text().split()
        except OSError:
            pass
    return children


def read_name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class CreatedContainers:
    """The containers of agents that the engine creates from now on, removed ones included."""

    def __init__(self, lines: "subprocess.Popen[bytes]") -> None:
        self._events = lines
        self._seen: list[tuple[str, str]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._events.stdout is not None
        with self._events.stdout as lines:
            for line in lines:
                state, name = line.decode().split()
                self._seen.append((state, name))

    def close(self) -> None:
        self._events.terminate()
        self._events.wait()
        self._reader.join()

    def of(self, scene: Scene, *, expected: int) -> list[str]:
        """Their names in this state folder; waits a moment until there are as many as expected."""
        for _ in range(40):
            names = [name for state, name in self._seen if state == scene.state_id]
            if len(names) >= expected:
                break
            time.sleep(0.05)
        return names


@contextmanager
def watch_created_containers() -> Iterator[CreatedContainers]:
    form = '{{index .Actor.Attributes "ktrdr.state"}} {{.Actor.Attributes.name}}'
    chosen = ("type=container", "event=create", "label=ktrdr.kind=attempt")
    filters = [word for each in chosen for word in ("--filter", each)]
    # Not the history: the engine keeps only a few hundred events.
    argv = ["docker", "events", *filters, "--format", form]
    environment = {"PATH": os.environ["PATH"], **ENGINE}
    watched = CreatedContainers(subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE))
    try:
        yield watched
    finally:
        watched.close()


def make_scene_with_tasks(new_scene: MakeScene, tasks: Sequence[str]) -> Scene:
    """A plan of tasks that write a file of their own, and an agent that prints while it works."""
    scene = new_scene()
    scratch = scene.area / "tmp"
    scratch.mkdir()
    scene.settings["TMPDIR"] = str(scratch)
    blocks = (task(number, f"sleep 0.4; test $(wc -l < made-{number}.txt) = 1") for number in tasks)
    scene.commit(plan__md=plan(*blocks), agent__sh=PRINTS)
    return scene


def check_each_once(scene: Scene, created: CreatedContainers, tasks: Sequence[str]) -> None:
    """Each task, commit, container, line and word is there once, and nothing else is left."""
    status = scene.status("plan.md")
    run = status["run"]
    assert status["status"] == "completed"
    commits = scene.commits("work", since=status["base"])
    assert [commit.trailers["Orchestrator-Task"] for commit in commits] == list(tasks)
    events = scene.orchestrator("watch", run, "--json").events
    assert [event["n"] for event in events] == sorted({event["n"] for event in events})
    for number in tasks:
        of_task = [event for event in events if event["task"] == number]
        kinds = Counter(event["kind"] for event in of_task)
        once = ("task_started", "container_created", "attempt_ended", "landing_started", "task_finished")
        assert {kind: kinds[kind] for kind in once} == dict.fromkeys(once, 1), kinds
        said = "\n".join(event["text"] for event in of_task if event["kind"] == "agent_text")
        assert said.splitlines() == PRINTED
        assert scene.transcript(run, number, 1).decode() == "\n".join(PRINTED)
    announced = [event for event in events if event["kind"] == "container_created"]
    names = created.of(scene, expected=len(announced))
    assert len(names) == len(set(names)) == len(announced) == len(tasks)
    check_nothing_left(scene, run)


def check_nothing_left(scene: Scene, run: str) -> None:
    """No container, process, lock, ref or file of a kill is there once the run has ended."""
    assert scene.containers() == []
    assert wait_for_processes(scene) == []
    assert scene.git("status", "--porcelain") == ""
    assert scene.git("fsck", "--strict", "--no-dangling") == ""
    assert scene.status(run)["owner"] is None
    refs = scene.git("for-each-ref", "--format=%(refname)").splitlines()
    assert sorted(refs) == ["refs/heads/main", "refs/heads/work", f"refs/ktrdr/{run}"]
    assert [path for path in (scene.folder / ".git").rglob("*") if is_scratch_of_git(path)] == []
    assert [path for path in (scene.state / "repositories").rglob("*") if is_scratch_of_git(path)] == []
    assert list((scene.area / "tmp").iterdir()) == []
    folder = scene.run_folder(run)
    ours = (path for path in folder.rglob("*") if "home" not in path.relative_to(folder).parts)
    assert [path for path in ours if is_temporary(path)] == [], "files of the agent's HOME are its own"
    assert not (folder / "starting").exists()
    assert list(folder.glob("gates/*")) == []
    for path in (folder / "lock", scene.folder / ".git"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)


def is_scratch_of_git(path: Path) -> bool:
    return path.suffix == ".lock" or path.name.startswith(("tmp_", "incoming-", "index."))


def is_temporary(path: Path) -> bool:
    return path.name.startswith((".", "tmp")) or path.suffix in (".new", ".tmp")


def wait_for_processes(scene: Scene) -> list[str]:
    """The programs that are still there after the seconds that a gateway takes to end."""
    deadline = time.monotonic() + 60
    while (found := list_processes(scene)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def list_processes(scene: Scene) -> list[str]:
    """The programs on this machine that have the scene's folder in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(scene.area) in (folder / "environ").read_bytes():
                found.append(read_name(folder.name))
        except OSError:
            pass
    return found
