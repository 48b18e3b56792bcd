"""The setup image: what a project depends on, installed once for each state of its lock files.

Setup commands run in a container that holds the tree. Afterwards the tree's own files are taken out again and
the rest becomes an image, from which attempts and gates start: it holds what setup produced, and nothing of
the tree that could pass for a candidate's.
"""

import io
import json
import tarfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path

from orchestrator.clock import Clock
from orchestrator.containers.base import LABEL_STATE, ContainerEngine, ContainerSpec, ExecResult
from orchestrator.errors import CodingAgentTimeout, SetupFailed
from orchestrator.gates.discovery import ENVIRONMENT, SETUP_FOLDER, discover, is_lock_file, is_read_by
from orchestrator.subprocesses import Identity
from orchestrator.text import plain

REPOSITORY = "ktrdr-setup"
LABEL_SETUP = "ktrdr.setup"
"""What an image holds, as JSON."""
SECONDS = 3600.0
"""For each setup command."""
INSPECTION_SECONDS = 600.0
SHOWN_LINES = 5
HOME = "/run/orchestrator/home"
VENV = ".venv/"
_FORMAT = 2

_SCRIPT = 'exec 2>&1; exec bash -eo pipefail -c "$1"'


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupPlan:
    commands: tuple[str, ...]
    found: tuple[str, ...]
    """The lock files by which the commands were discovered; empty when they are configured."""
    key: str
    """A hash of everything that the result depends on."""

    @property
    def image(self) -> str:
        return f"{REPOSITORY}:{self.key[:32]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupImage:
    """What attempts and gates start from."""

    id: str
    produced: tuple[str, ...] = ()
    """Paths that setup made; a folder ends with `/` and stands for all that is in it."""
    self_ignored: tuple[str, ...] = ()
    """Those folders that bring a .gitignore for themselves."""
    changed: tuple[str, ...] = ()
    """Files of the tree that setup changed; the image does not have them."""

    @property
    def folders(self) -> tuple[str, ...]:
        return tuple(path for path in self.produced if path.endswith("/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupRequest:
    spec: ContainerSpec
    archive: Path
    """A tar of the tree's files, to be unpacked at /."""
    plan: SetupPlan
    env: Mapping[str, str]
    log: Path
    """Where the whole output goes, as it comes."""
    printed: Callable[[bytes], object]
    """Gets the output as well."""


def plan_setup(
    files: Mapping[str, str],
    *,
    commands: tuple[str, ...],
    discovering: bool,
    image: str,
    repository: str,
    owner: Identity,
    env: Mapping[str, str],
    candidate: str | None = None,
) -> SetupPlan | None:
    """What has to be run for a tree, given as path → blob; None when there is nothing to set up. Pure.

    `repository` says whose it is: setup runs files of the tree, so what one repository made is for no other.
    `candidate` is the commit whose alone the result is to be.
    """
    managers = discover(files) if discovering and not commands else ()
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
    """The first of these tracked paths that setup has made, or that lies above or below what it has made."""
    files = {path for path in made.produced if not path.endswith("/")}
    folders = {path.rstrip("/") for path in made.folders}
    above = {parent for path in files | folders for parent in _parents(path)}
    for path in sorted(paths):
        if path in files or path in folders or path in above:
            return path
        if any(parent in files or parent in folders for parent in _parents(path)):
            return path
    return None


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


async def find_setup(engine: ContainerEngine, plan: SetupPlan) -> SetupImage | None:
    """The image of an earlier setup with the same key."""
    found = await engine.image(plan.image)
    if found is None:
        return None
    try:
        about = json.loads(found.labels[LABEL_SETUP])
        if about["key"] != plan.key:
            return None
        return _described(found.id, about)
    except (KeyError, ValueError, TypeError):
        return None


def _described(image: str, about: Mapping[str, list[str]]) -> SetupImage:
    return SetupImage(
        id=image,
        produced=tuple(about["produced"]),
        self_ignored=tuple(about["self_ignored"]),
        changed=tuple(about["changed"]),
    )


async def run_setup(engine: ContainerEngine, clock: Clock, request: SetupRequest) -> SetupImage:
    """Run the commands and make the image. Raises SetupFailed with the end of their output."""
    container = await engine.create(request.spec)
    try:
        await engine.put_archive(container, "/", request.archive)
        await _make_setup_folder(engine, clock, container, request)
        await engine.start(container)
        setup = _Setup(engine, clock, container, request)
        before = await setup.inspect("record", b"")
        path = await setup.path()
        for command in request.plan.commands:
            await setup.run(command, path)
        about = json.loads(await setup.inspect("conclude", before))
        _refuse_copies(about["installed"])
        await engine.signal(container, "SIGKILL")
        await engine.wait(container)
        env = {**ENVIRONMENT, "PATH": _image_path(path, about["produced"])}
        labels = {**_blank(request.spec.labels), LABEL_SETUP: json.dumps({"key": request.plan.key, **about})}
        image = await engine.commit(container, name=request.plan.image, labels=labels, env=env)
        return _described(image, about)
    finally:
        await engine.remove(container)


def _blank(labels: Iterable[str]) -> dict[str, str]:
    """An image hands its labels on, and what starts from this one must not pass for a container of the run.

    Whose state folder made it stays: that one may remove it again.
    """
    return {name: "" for name in labels if name != LABEL_STATE}


class _Setup:
    """One setup container, running."""

    def __init__(self, engine: ContainerEngine, clock: Clock, container: str, request: SetupRequest) -> None:
        self._engine = engine
        self._clock = clock
        self._container = container
        self._request = request
        self._env = {**ENVIRONMENT, **request.env, "HOME": HOME}

    async def path(self) -> str:
        done = await self._exec(("sh", "-c", 'printf %s "$PATH"'), INSPECTION_SECONDS, env={})
        return f"{SETUP_FOLDER}/bin:{self._env.get('PATH', done.stdout)}"

    async def run(self, command: str, path: str) -> None:
        begun = self._clock.monotonic()
        argv = ("bash", "-c", _SCRIPT, "setup", command)
        with self._request.log.open("ab", buffering=0) as log:
            log.write(f"$ {command}\n".encode("utf-8", "replace"))

            def printed(data: bytes) -> None:
                log.write(data)
                self._request.printed(data)

            try:
                done = await self._exec(argv, SECONDS, env={**self._env, "PATH": path}, printed=printed)
            except CodingAgentTimeout as error:
                raise self._failed(command, f"took longer than {SECONDS:g} s", error.stdout) from None
            log.write(f"[exit {done.exit_code}, {self._clock.monotonic() - begun:.1f} s]\n".encode())
        if done.exit_code != 0:
            raise self._failed(command, f"failed with exit code {done.exit_code}", done.stdout)

    async def inspect(self, what: str, given: bytes) -> bytes:
        source = (resources.files("orchestrator.gates") / "setup_tree.py").read_text("utf-8")
        argv = ("/usr/bin/python3", "-I", "-c", source, what)
        done = await self._exec(argv, INSPECTION_SECONDS, env={}, stdin=given)
        if done.exit_code != 0:
            raise SetupFailed(
                f"the tree cannot be told from what setup made: {plain(done.stdout + done.stderr)[-500:]}",
                hint="Setup needs an image with /usr/bin/python3, as the agent image is.",
            )
        return done.stdout.encode()

    async def _exec(
        self,
        argv: tuple[str, ...],
        timeout: float,
        *,
        env: Mapping[str, str],
        stdin: bytes | None = None,
        printed: Callable[[bytes], object] | None = None,
    ) -> ExecResult:
        return await self._engine.exec(
            self._container, argv, timeout=timeout, env=env, stdin=stdin, printed=printed
        )

    def _failed(self, command: str, what: str, output: str) -> SetupFailed:
        lines = [line for line in plain(output).splitlines() if line.strip()][-SHOWN_LINES:]
        first = command.strip().splitlines()[0]
        mend = "Mend setup.commands or the lock files."
        if "command not found" in output:
            mend = "Name what brings the program: image.packages, image.dockerfile."
        return SetupFailed(
            "\n".join([f"setup {what}: {first}", *(f"  {line[:200]}" for line in lines)]),
            hint=f"{mend} The whole output: {self._request.log}",
        )


async def _make_setup_folder(
    engine: ContainerEngine, clock: Clock, container: str, request: SetupRequest
) -> None:
    """The folder for what setup makes outside of the tree, the container's user's own."""
    entry = tarfile.TarInfo(SETUP_FOLDER.lstrip("/"))
    entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, int(clock.now().timestamp())
    entry.uid, entry.gid = request.spec.uid, request.spec.gid
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.addfile(entry)
    archive = request.archive.with_name("setup-folder.tar")
    archive.write_bytes(content.getvalue())
    await engine.put_archive(container, "/", archive)


def _image_path(path: str, produced: Collection[str]) -> str:
    """With the programs of an environment that is setup's alone: nothing of a candidate's can be in there."""
    return f"/workspace/{VENV}bin:{path}" if VENV in produced else path


def _refuse_copies(installed: list[str]) -> None:
    if installed:
        raise SetupFailed(
            f"setup installs a copy of the project, so every check would test the base: {installed[0]}",
            hint="Install it editable (`pip install -e .`, `uv sync` without --no-editable) or only what it "
            "depends on; what has to be built from the candidate belongs in verify.build.",
        )
