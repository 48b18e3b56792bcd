"""Scratch repositories, plans, scripts of the model, and the real command as a process of its own.

Everything a test makes is in one folder below /tmp that every user may enter, because some of the commands
run as a user who is not the one that runs the tests.
"""

import json
import os
import queue
import shlex
import shutil
import signal
import subprocess  # noqa: TID251 - starts the command as a user's shell does
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from forked import READ_BY_PYTHON, start_forked
from sandboxed import main_in_sandbox

import orchestrator
from orchestrator.cli.main import main
from orchestrator.gateway.sockets import gateway_folder
from orchestrator.project.transcripts import read_stored

IMAGE = "ktrdr-coding-agent:latest"
ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(orchestrator.__file__).resolve().parent
ORDINARY = 1000
"""The user who owns folders and starts commands where root runs the tests."""
PATIENCE = 240.0
"""Seconds that a command may take: on a loaded machine the image of a toolchain takes minutes to build."""

ENGINE = {name: os.environ[name] for name in ("DOCKER_HOST", "DOCKER_CONTEXT") if name in os.environ}
if "DOCKER_CONTEXT" in ENGINE:
    ENGINE["DOCKER_CONFIG"] = os.environ.get("DOCKER_CONFIG", str(Path.home() / ".docker"))

Event = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A command that has ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode()

    @property
    def events(self) -> list[Event]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["kind"] == kind]

    @property
    def first_rounds(self) -> list[Event]:
        """The gates that have ended, without the later rounds of one that failed in a new way."""
        return [each for each in self.of("gate_ended") if each["round"] == 1]

    @property
    def end(self) -> Event:
        """The last line of a command that ran."""
        last = self.events[-1]
        assert last["kind"] == "run_ended"
        return last

    @property
    def run(self) -> str:
        assert self.stdout, self
        run: str = self.events[0]["run"]
        return run

    def __str__(self) -> str:
        printed = (self.stdout + b"\n" + self.stderr).decode(errors="replace")
        return f"exit {self.exit_code}\n{printed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who types the command: the interpreter that they can run, and who they are."""

    program: tuple[str, ...]
    pythonpath: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    main: Callable[[], int] | None = None
    """The function that the program calls, where a fork of the tests' process can stand for it."""

    @property
    def identity(self) -> dict[str, Any]:
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": list(self.groups)}


def myself() -> Caller:
    """The user who runs the tests, with the command of this environment."""
    installed = Path(sys.executable).with_name("orchestrator")
    program = (str(installed),) if installed.exists() else (sys.executable, "-m", "orchestrator.cli.main")
    path = "" if installed.exists() else str(PACKAGE.parent)
    return Caller(program=program, pythonpath=path, uid=os.geteuid(), gid=os.getegid(), main=main)


def sandboxed() -> Caller:
    """As `myself`, but containers are namespaces of this machine: for what is not about the container."""
    program = (sys.executable, str(Path(__file__).with_name("sandboxed.py")))
    return replace(myself(), program=program, main=main_in_sandbox)


class Living:
    """A command that still runs; its events are read as they come."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._seen: list[bytes] = []
        self._errors: list[bytes] = []
        self._readers = [threading.Thread(target=read) for read in (self._read_out, self._read_err)]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read_out(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def _read_err(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            self._errors.append(stream.read())

    def next_line(self, wanted: str = "its next line") -> Event:
        """Wait for the next line and return its event."""
        line = self._lines.get(timeout=PATIENCE)
        if line is None:
            raise AssertionError(f"the command ended before {wanted}:\n{self.finish()}")
        self._seen.append(line)
        event: Event = json.loads(line)
        return event

    def until(self, kind: str, **values: object) -> Event:
        """The next event of this kind with these values."""
        while True:
            event = self.next_line(f"{kind} {values}")
            if event["kind"] == kind and all(event[name] == value for name, value in values.items()):
                return event

    def until_exists(self, path: Path) -> None:
        """Wait until the file exists; the command has to be alive until then."""
        self.until_found(path.parent, path.name)

    def until_found(self, folder: Path, pattern: str) -> None:
        """Wait until the folder has such a file; the command has to be alive until then."""
        deadline = time.monotonic() + PATIENCE
        while not any(folder.glob(pattern)):
            assert self.alive, f"the command ended before {pattern} was made: {self.finish()}"
            assert time.monotonic() < deadline, f"{pattern} was never made"
            time.sleep(0.05)

    def until_containers_of_base(self, state: Path) -> None:
        """Wait until a container of setup or of a check on the base is about to start: no event says it."""
        self.until_found(state, "runs/*/gates/*")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def finish(self) -> Done:
        code = self._process.wait(timeout=PATIENCE)
        for reader in self._readers:
            reader.join(timeout=PATIENCE)
        while not self._lines.empty():
            if (line := self._lines.get()) is not None:
                self._seen.append(line)
        return Done(exit_code=code, stdout=b"".join(self._seen), stderr=b"".join(self._errors))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self.finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    id: str
    tree: str
    trailers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A repository, a caller, and a state folder of the caller's."""

    folder: Path
    """The code folder."""
    area: Path
    """Everything else: the caller's HOME and state."""
    caller: Caller
    owner: int
    """Whose folder it is; git of a test runs as this user."""
    settings: dict[str, str] = field(default_factory=dict)
    """The caller's environment, in addition."""

    @property
    def state(self) -> Path:
        return self.area / "state" / "ktrdr-orchestrator"

    @property
    def state_id(self) -> str | None:
        file = self.state / "id"
        return file.read_text().strip() if file.exists() else None

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": self.caller.pythonpath,
            "HOME": str(self.area / "home"),
            "XDG_STATE_HOME": str(self.area / "state"),
            "LC_ALL": "C.UTF-8",
            **ENGINE,
            **self.settings,
            **extra,
        }

    def start(self, *words: str, cwd: Path | None = None, **extra: str) -> Living:
        """Begin a command in the code folder; for commands with --json."""
        process = subprocess.Popen(
            [*self.caller.program, *words],
            cwd=cwd or self.folder,
            env=self.environment(extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **self.caller.identity,
        )
        return Living(process)

    def orchestrator(self, *words: str, cwd: Path | None = None, **extra: str) -> Done:
        environment = self.environment(extra)
        if self.caller.main is None or not READ_BY_PYTHON.isdisjoint({*self.settings, *extra}):
            command = self.start(*words, cwd=cwd, **extra)
        else:
            command = Living(start_forked(self.caller.main, words, cwd or self.folder, environment))
        with command:
            return command.finish()

    def run(self, *words: str, plan: str = "plan.md", **extra: str) -> Done:
        return self.orchestrator("run", plan, "--json", *words, cwd=None, **extra)

    def status(self, run: str) -> dict[str, Any]:
        done = self.orchestrator("status", run, "--json")
        assert done.exit_code == 0, done
        (found,) = json.loads(done.stdout)["runs"]
        result: dict[str, Any] = found
        return result

    def git(self, *words: str) -> str:
        return os.fsdecode(self.try_git(*words).stdout).rstrip("\n")

    def try_git(self, *words: str) -> "subprocess.CompletedProcess[bytes]":
        other: dict[str, Any] = (
            {} if self.owner == os.geteuid() else {"user": self.owner, "group": self.owner}
        )
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.area),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_OPTIONAL_LOCKS": "0",
        }
        return subprocess.run(
            ["git", *words], cwd=self.folder, env=environment, capture_output=True, check=True, **other
        )

    def write(self, path: str, content: str | bytes) -> Path:
        target = self.folder / path
        new = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        # A new file appears whole and with its owner: an agent that waits for it may remove it at once.
        place = target if target.exists() else self.area / f"new-{target.name}"
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        if os.geteuid() == 0:
            for made in (*new, place):
                os.chown(made, self.owner, self.owner)
        place.replace(target)
        return target

    def commit(self, **files: str) -> None:
        """Write files (`__` for a dot in a name) and commit everything."""
        for name, content in files.items():
            self.write(name.replace("__", "."), content)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "start")

    def commits(self, branch: str, since: str) -> list[Commit]:
        """Oldest first."""
        form = "%H%x1f%T%x1f%(trailers:only,unfold)%x1e"
        text = self.git("log", "--reverse", f"--format={form}", f"{since}..{branch}")
        found = []
        for record in filter(str.strip, text.split("\x1e")):
            commit, tree, trailers = record.strip().split("\x1f")
            pairs = dict(line.split(": ", 1) for line in trailers.splitlines() if line)
            found.append(Commit(id=commit, tree=tree, trailers=pairs))
        return found

    def run_folder(self, run: str) -> Path:
        return self.state / "runs" / run

    def attempt(self, run: str, task: str, number: int) -> Path:
        return self.run_folder(run) / "attempts" / task / str(number)

    def transcript(self, run: str, task: str, number: int, stream: str = "stdout") -> bytes:
        """The stored output of an attempt, compressed or not."""
        return b"".join(read_stored(self.attempt(run, task, number) / "transcript" / stream))

    def evidence(self, run: str, evidence: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            (self.run_folder(run) / "evidence" / evidence / "gate.json").read_bytes()
        )
        return found

    def containers(self) -> list[str]:
        """Names of the containers of this state folder, running or not."""
        if self.state_id is None:
            return []
        listed = docker(
            "ps", "-a", "--filter", f"label=ktrdr.state={self.state_id}", "--format", "{{.Names}}"
        )
        return listed.split()

    def ever_started(self) -> bool:
        """Whether the engine remembers a container of this state folder, removed or not."""
        if self.state_id is None:
            return False
        label = f"label=ktrdr.state={self.state_id}"
        return bool(docker("events", "--since", "1h", "--until", "0s", "--filter", label))

    def gateways(self) -> list[int]:
        """The process ids of all gateways of this state folder so far."""
        log = self.state / "gateway.log"
        words = log.read_text().split() if log.exists() else []
        return [int(word[4:]) for word in words if word.startswith("pid=")]

    def kill_gateway(self) -> None:
        """Kill the gateway that runs, as by `kill -9`."""
        os.kill(self.gateways()[-1], signal.SIGKILL)

    def picture(self) -> dict[str, tuple[int, int, int, bytes]]:
        """Everything in the code folder, the git directory included: kind and mode, owner, group, content."""
        seen = {}
        for parent, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                path = Path(parent) / name
                found = path.lstat()
                content = b""
                if path.is_symlink():
                    content = os.fsencode(path.readlink())
                elif path.is_file():
                    content = path.read_bytes()
                seen[str(path.relative_to(self.folder))] = (
                    found.st_mode,
                    found.st_uid,
                    found.st_gid,
                    content,
                )
        return seen

    def owners(self) -> dict[str, int]:
        return {path: owner for path, (_, owner, _, _) in self.picture().items()}

    def clear(self) -> None:
        """End what a failed test left: our gateway, our containers, our folders."""
        for name in self.containers():
            docker("rm", "-f", name)
        for pid in self.gateways():
            _end_gateway(pid)
        if self.state.exists():
            sockets = gateway_folder(self.state)  # a gateway that is asked to end leaves them to a successor
            shutil.rmtree(
                sockets.parent.with_name(f"ktrdr-{self.caller.uid}") / sockets.name, ignore_errors=True
            )
        shutil.rmtree(self.area, ignore_errors=True)


MakeScene = Callable[..., Scene]


def make_scene(
    area: Path, *, name: str = "code", owner: int | None = None, caller: Caller | None = None
) -> Scene:
    """A fresh repository without a commit, and HOME and state of the caller's beside it."""
    caller = caller or myself()
    owner = os.geteuid() if owner is None else owner
    scene = Scene(folder=area / name, area=area, caller=caller, owner=owner)
    for folder, uid in ((scene.folder, owner), (area / "home", caller.uid), (area / "state", caller.uid)):
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, uid, uid)
    scene.git("init", "-q", "-b", "main")
    scene.git("config", "user.name", "Ada")
    scene.git("config", "user.email", "ada@example.org")
    return scene


def scenes() -> Iterator[MakeScene]:
    made: list[Scene] = []

    def make(**options: object) -> Scene:
        # Short and open to all: a user who is not root works below it.
        area = Path(tempfile.mkdtemp(prefix="ktrdr-e2e-", dir="/tmp"))
        area.chmod(0o755)
        made.append(make_scene(area, **options))  # type: ignore[arg-type]
        return made[-1]

    try:
        yield make
    finally:
        for scene in made:
            scene.clear()


def _end_gateway(pid: int) -> None:
    """It ends by itself within seconds after its last attempt; this is for tests that cannot wait."""
    try:
        if b"orchestrator.gateway" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while Path(f"/proc/{pid}/cmdline").read_bytes() and time.monotonic() < deadline:
            time.sleep(0.05)
    except (FileNotFoundError, ProcessLookupError):
        pass


def docker(*words: str) -> str:
    environment = {"PATH": os.environ["PATH"], **ENGINE}
    done = subprocess.run(["docker", *words], env=environment, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode()


def wait_until_runs(container: str, command: str) -> None:
    """Wait until the engine lists a process of the container with this shell command in its arguments."""
    words = ["docker", "top", container, "-eo", "pid,args"]
    environment = {"PATH": os.environ["PATH"], **ENGINE}
    deadline = time.monotonic() + PATIENCE
    while command not in subprocess.run(words, env=environment, capture_output=True, text=True).stdout:
        assert time.monotonic() < deadline, f"{container} never ran {command}"
        time.sleep(0.05)


def inspect(container: str) -> dict[str, Any]:
    (found,) = json.loads(docker("inspect", container))
    result: dict[str, Any] = found
    return result


def task(id: str, *verify: str, kind: str = "CODING", title: str = "Do it", depends: str = "") -> str:
    blocks = "".join(f"```bash\n{command}\n```\n" for command in verify)
    lines = [f"## Task {id}: {title}", f"**Type:** {kind}"]
    lines += [f"**Depends on:** {depends}"] if depends else []
    lines += ["**Description:**", "What the title says.", "**Acceptance Criteria:**", "- [ ] done"]
    return "\n".join([*lines, *(["**Verify:**", blocks] if verify else [])]) + "\n"


def plan(*tasks: str, e2e: str | None = None, branch: str = "work") -> str:
    scenario = f"## E2E Test\n```bash\n{e2e}\n```\n" if e2e else ""
    return "\n".join([f"# Milestone 1: A trial\n\n**Branch:** `{branch}`\n", *tasks, scenario])


def bash(command: str) -> dict[str, Any]:
    return {"tools": [{"name": "Bash", "input": {"command": command}}]}


def outcome(status: str = "completed", **more: object) -> dict[str, Any]:
    return {"outcome": {"status": status, "summary": f"It is {status}.", **more}}


def script(**tasks: Sequence[object]) -> str:
    """A file of the scripted model; `t1_2` is task 1.2."""
    scripts = {
        name.removeprefix("t").replace("_", "."): {"steps": list(steps)} for name, steps in tasks.items()
    }
    return json.dumps({"schema": 1, "tasks": scripts})


REPORT = """\
report() { printf '{"status": "%s", "summary": "%s"}' "$1" "${2:-}" > "$ORCHESTRATOR_OUTCOME"; }
"""
"""For agents in shell: report STATUS [SUMMARY]."""

AGENT = ("--agent-command", "bash agent.sh")


def waiting_for(file: str) -> str:
    """A shell command that ends when a file appears, or after minutes."""
    return f"for n in $(seq 3000); do test -e {shlex.quote(file)} && break; sleep 0.05; done"
