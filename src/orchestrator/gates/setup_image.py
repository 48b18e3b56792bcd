"""The setup image: a project's dependencies, installed once for each state of its lock files.

Setup commands run in a container that holds the tree. Afterwards the tree's own files are removed from it,
and the rest becomes an image, from which attempts and gates start.

**Why the tree's files are removed.** A gate puts the candidate's files over those of the image. A file that
the candidate has deleted, such as a stale module, would still be there if the image held it, and the gate
would pass on a tree that exists nowhere else. For the same reason setup must not install a copy of the
project itself: imports would find the copy of the base, and every check would test the base instead of the
candidate.

**Why setup is not repeated for each candidate.** It takes minutes. The key of an image covers everything that
setup reads (commands, lock files, manifests, base image, user, environment), so an image is reused exactly as
long as the result could not differ. It never crosses from one repository to another: setup runs files of the
tree.
"""

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path

from orchestrator.clock import Clock
from orchestrator.containers.base import LABEL_STATE, ContainerEngine, ContainerSpec
from orchestrator.containers.start import create_container, remove_container
from orchestrator.errors import CodingAgentTimeout, SetupFailed
from orchestrator.gates.discovery import (
    ENVIRONMENT,
    SETUP_FOLDER,
    discover,
    is_lock_file,
    is_read_by,
    name_manager,
)
from orchestrator.gates.pipes import let_readers_stop
from orchestrator.programs import suggest_provision
from orchestrator.subprocesses import Identity
from orchestrator.text import first_line, plain

REPOSITORY = "ktrdr-setup"
LABEL_SETUP = "ktrdr.setup"
"""The key and the paths of a SetupImage, as JSON."""
SECONDS = 3600.0
"""For each setup command."""
INSPECTION_SECONDS = 600.0
SHOWN_LINES = 5
HOME = "/run/orchestrator/home"
VENV = ".venv/"
_FORMAT = 3

_NOT_FOUND = re.compile(r"([\w./+-]+): (?:command )?not found$", re.MULTILINE)
"""The message of bash and sh about a program that does not exist."""
# As in a gate: the unchanged command runs where this bash cannot read what was made of it.
_SCRIPT = (
    'exec 2>&1; test "$1" = "$2" || bash -nc "$1" 2>/dev/null || set -- "$2"; exec bash -eo pipefail -c "$1"'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupPlan:
    commands: tuple[str, ...]
    found: tuple[str, ...]
    """The lock files by which the commands were discovered; empty when commands are configured."""
    key: str
    """A hash of everything that the result depends on."""

    @property
    def image(self) -> str:
        return f"{REPOSITORY}:{self.key[:32]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupImage:
    """The image that attempts and gates start from."""

    id: str
    produced: tuple[str, ...] = ()
    """Paths that setup made. A folder ends with `/` and stands for everything in it."""
    self_ignored: tuple[str, ...] = ()
    """Those folders of `produced` that have a .gitignore with `*`, as virtual environments do."""
    changed: tuple[str, ...] = ()
    """Files of the tree that setup changed. The image has neither version of them."""

    @property
    def folders(self) -> tuple[str, ...]:
        return tuple(path for path in self.produced if path.endswith("/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupRequest:
    spec: ContainerSpec
    archive: Path
    """A tar of the tree's files, unpacked at `/`."""
    plan: SetupPlan
    env: Mapping[str, str]
    log: Path
    """The file to which the whole output is appended."""
    on_step: Callable[[str], object]
    """Is called with what lasts from now on."""
    on_output: Callable[[bytes], object]
    """Is called with the output, while the commands run."""


def plan_setup(
    files: Mapping[str, str],
    *,
    commands: tuple[str, ...],
    discovering: bool,
    folders: tuple[str, ...] = (),
    image: str,
    repository: str,
    owner: Identity,
    env: Mapping[str, str],
    candidate: str | None = None,
) -> SetupPlan | None:
    """The commands for a tree, given as path → blob id, and their key; None when there are none. Pure.

    Lock files are discovered at the root and in `folders`.
    `repository` is part of the key, because setup runs files of the tree: an image of one repository must not
    be used for another. If `candidate` is given, the image is used for this commit only.
    """
    managers = discover(files, folders) if discovering and not commands else ()
    commands = commands or tuple(manager.command for manager in managers)
    if not commands:
        return None
    locks = sorted(
        (path, blob) for path, blob in files.items() if is_lock_file(path) or is_read_by(path, commands)
    )
    environment = sorted({**ENVIRONMENT, **env}.items())
    content = [_FORMAT, image, repository, candidate, commands, locks, owner.uid, owner.gid, environment]
    return SetupPlan(
        commands=commands,
        found=tuple(manager.lock for manager in managers),
        key=sha256(json.dumps(content).encode()).hexdigest(),
    )


def first_conflict(paths: Iterable[str], made: SetupImage) -> str | None:
    """The first tracked path that setup made, too, or that is a parent or a child of a path that it made."""
    files = {path for path in made.produced if not path.endswith("/")}
    folders = {path.rstrip("/") for path in made.folders}
    above = {parent for path in files | folders for parent in _list_parents(path)}
    for path in sorted(paths):
        if path in files or path in folders or path in above:
            return path
        if any(parent in files or parent in folders for parent in _list_parents(path)):
            return path
    return None


def _list_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


async def find_setup(engine: ContainerEngine, plan: SetupPlan) -> SetupImage | None:
    """The image of an earlier setup with the same key, or None.

    The name holds a part of the key only, and anybody can give an image a name. So the label is compared.
    """
    found = await engine.image(plan.image)
    if found is None:
        return None
    try:
        about = json.loads(found.labels[LABEL_SETUP])
        if about["key"] != plan.key:
            return None
        return _setup_image(found.id, about)
    except (KeyError, ValueError, TypeError):
        return None


def _setup_image(image: str, about: Mapping[str, list[str]]) -> SetupImage:
    return SetupImage(
        id=image,
        produced=tuple(about["produced"]),
        self_ignored=tuple(about["self_ignored"]),
        changed=tuple(about["changed"]),
    )


async def run_setup(engine: ContainerEngine, clock: Clock, request: SetupRequest) -> SetupImage:
    """Run the commands, then commit the container as an image.

    Raises SetupFailed with the end of the output, or when setup installs a copy of the project.
    """
    request.on_step("setup")
    container = await create_container(engine, request.spec)
    try:
        await engine.put_archive(container, "/", request.archive)
        await _put_setup_folder(engine, clock, container, request)
        await engine.start(container)
        setup = _Setup(engine, clock, container, request)
        # Recorded inside the container, before any command: what setup has made is what differs afterwards.
        before = await setup.run_setup_tree("record", b"")
        path = await setup.read_path()
        for command in request.plan.commands:
            await setup.run(command, path)
        request.on_step("storing what setup made")
        about = json.loads(await setup.run_setup_tree("conclude", before))
        installed = about["installed"]
        if installed:
            raise SetupFailed(
                f"setup installs a copy of the project, so every check would test the base: {installed[0]}",
                hint="Install the project editable (`pip install -e .`, `uv sync` without --no-editable), "
                "or only its dependencies. Move steps that build the candidate to verify.build.",
            )
        # Stopped before it is committed, so that nothing writes while the file system is copied.
        await engine.signal(container, "SIGKILL")
        await engine.wait(container)
        # An image passes its labels on, and a container that starts from it must not be taken for one of the
        # run. The state folder's label stays, so that `clean` of that state folder may remove the image.
        labels = {name: "" for name in request.spec.labels if name != LABEL_STATE}
        labels[LABEL_SETUP] = json.dumps({"key": request.plan.key, **about})
        # Programs of a virtual environment that setup made alone come first: no candidate can track them.
        programs = f"/workspace/{VENV}bin:{path}" if VENV in about["produced"] else path
        env = {**ENVIRONMENT, "PATH": programs}
        image = await engine.commit(container, name=request.plan.image, labels=labels, env=env)
        return _setup_image(image, about)
    finally:
        await remove_container(engine, container)


class _Setup:
    """Commands in one running setup container."""

    def __init__(self, engine: ContainerEngine, clock: Clock, container: str, request: SetupRequest) -> None:
        self._engine = engine
        self._clock = clock
        self._container = container
        self._request = request
        self._env = {**ENVIRONMENT, **request.env, "HOME": HOME}

    async def read_path(self) -> str:
        done = await self._engine.exec(
            self._container, ("sh", "-c", 'printf %s "$PATH"'), timeout=INSPECTION_SECONDS, env={}
        )
        return f"{SETUP_FOLDER}/bin:{self._env.get('PATH', done.stdout)}"

    async def run(self, command: str, path: str) -> None:
        begun = self._clock.monotonic()
        argv = ("bash", "-c", _SCRIPT, "setup", let_readers_stop(command), command)
        # Unbuffered: if the run is killed, the file has all output up to then.
        with self._request.log.open("ab", buffering=0) as log:
            log.write(f"$ {command}\n".encode("utf-8", "replace"))

            def write_output(data: bytes) -> None:
                log.write(data)
                self._request.on_output(data)

            try:
                done = await self._engine.exec(
                    self._container,
                    argv,
                    timeout=SECONDS,
                    env={**self._env, "PATH": path},
                    on_output=write_output,
                )
            except CodingAgentTimeout as error:
                raise self._failure(command, f"took longer than {SECONDS:g} s", error.stdout) from None
            log.write(f"[exit {done.exit_code}, {self._clock.monotonic() - begun:.1f} s]\n".encode())
        if done.exit_code != 0:
            raise self._failure(command, f"failed with exit code {done.exit_code}", done.stdout)

    async def run_setup_tree(self, what: str, given: bytes) -> bytes:
        source = (resources.files("orchestrator.gates") / "setup_tree.py").read_text("utf-8")
        # Isolated (-I), and the image's own Python by its full path: a module or a program that setup has
        # installed must not answer what setup has made.
        argv = ("/usr/bin/python3", "-I", "-c", source, what)
        done = await self._engine.exec(self._container, argv, timeout=INSPECTION_SECONDS, env={}, stdin=given)
        if done.exit_code != 0:
            raise SetupFailed(
                f"the files that setup made cannot be listed: {plain(done.stdout + done.stderr)[-500:]}",
                hint="Setup needs an image with /usr/bin/python3, such as the agent image.",
            )
        return done.stdout.encode()

    def _failure(self, command: str, what: str, output: str) -> SetupFailed:
        lines = [line for line in plain(output).splitlines() if line.strip()][-SHOWN_LINES:]
        shown = describe_command(self._request.plan, command)
        missing = _NOT_FOUND.search(output)
        fix = "Fix setup.commands or the lock files." if missing is None else suggest_provision(missing[1])
        return SetupFailed(
            "\n".join([f"setup {what}: {shown}", *(f"  {line[:200]}" for line in lines)]),
            hint=f"{fix.rstrip('.')}. The whole output: {self._request.log}",
        )


def describe_command(plan: SetupPlan, command: str) -> str:
    """A setup command on one line: of a package manager its name and file, because its script is long."""
    if plan.found:
        lock = plan.found[plan.commands.index(command)]
        return f"{name_manager(lock)} ({lock})"
    where, _, rest = command.strip().partition("\n")
    if where.startswith("cd ") and rest:
        return f"{first_line(rest, 200)} (in {where.removeprefix('cd ')})"
    return first_line(command, 200)


async def _put_setup_folder(
    engine: ContainerEngine, clock: Clock, container: str, request: SetupRequest
) -> None:
    """Create SETUP_FOLDER in the container, owned by the container's user."""
    entry = tarfile.TarInfo(SETUP_FOLDER.lstrip("/"))
    entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, int(clock.now().timestamp())
    entry.uid, entry.gid = request.spec.uid, request.spec.gid
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.addfile(entry)
    archive = request.archive.with_name("setup-folder.tar")
    archive.write_bytes(content.getvalue())
    await engine.put_archive(container, "/", archive)
