"""Folders of a setup image over the code folder, without a copy for each attempt.

An environment can hold gigabytes, and filling a volume from the image takes as long as copying them. Here
each folder is an overlay: the files are read where the engine stores the image, and what the agent writes
goes to a folder of this attempt alone. So no later attempt, no gate and no user sees it.

**Where the attempt's folders are.** A container that is never started, the holder, has an anonymous volume
with two empty folders for each overlay. The attempt's container holds the same volume, which is removed with
it; the holder is removed as soon as the attempt's container exists. So the host needs no place for them, a
`docker system prune` does not remove them, and a kill leaves nothing but containers with the labels of their
attempt. In the agent's container the volume is read-only, and only root can look into it.

**Links.** The engine mounts the image's folder as root of the host, and follows links. Setup runs code of the
tree, which could leave a link to `/home` where its folder was. So each part of the path is looked up in the
holder: the image's files cannot change any more, and a path with a link in it is copied instead.

**Whether it works at all** depends on the engine's storage driver, its kernel and SELinux. A probe container
finds it out, once for each process: it must see the image's folder, and what it writes must arrive.
"""

import asyncio
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.containers.start import create_container, remove_container
from orchestrator.errors import CodingAgentError
from orchestrator.mounts import Overlay
from orchestrator.workspace.container_git import WORKSPACE

HELD = "/run/orchestrator/overlays"
"""Where the attempt's folders are mounted in holder and attempt."""
PROBED = "/run/orchestrator/overlay-probe"
PROBE_SECONDS = 30.0
_MARK = ".ktrdr-probe"
PROBE_COMMAND = ("sh", "-c", f'test -n "$(ls -A "$1")" && mkdir "$1/{_MARK}"', "sh", PROBED)


@dataclass(slots=True, kw_only=True)
class OverlaySupport:
    """Whether the engine supports overlays, as far as this process has tried it."""

    is_probed: bool = False
    reason_against: str | None = None
    """Why folders are copied; None if overlays work, or before the probe."""
    is_announced: bool = False
    """Whether the user knows that folders are copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupOverlays:
    overlays: tuple[Overlay, ...] = ()
    holder: str | None = None
    """The container whose volume the attempt's container must hold; remove it once that one is created."""
    copied: tuple[str, ...] = ()
    """Those of the paths that cannot be overlaid."""
    reason: str = ""
    """Why they cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayRequest:
    paths: Sequence[str]
    """Folders below `/workspace` that setup made."""
    holder: ContainerSpec
    """Of the setup image; its user is the attempt's."""
    probe: ContainerSpec
    folder: Path
    """Where a scratch file is written."""
    mtime: float
    """The time that the folders get, in seconds since 1970."""
    support: OverlaySupport


async def make_overlays(engine: ContainerEngine, request: OverlayRequest) -> SetupOverlays:
    """Overlays for as many of these folders as the engine can overlay. Leaves no container when it fails."""
    paths = tuple(request.paths)
    if not paths:
        return SetupOverlays()
    support = request.support
    if support.reason_against is not None:
        return SetupOverlays(copied=paths, reason=support.reason_against)
    image = await engine.image(request.holder.image)
    if image is None or image.layer_folder is None:
        support.reason_against = "the container engine does not report where it stores the files of an image"
        return SetupOverlays(copied=paths, reason=support.reason_against)
    await engine.remove(request.holder.name)  # a killed start may have left one
    holder = await create_container(engine, request.holder)
    try:
        found = await _make(engine, request, holder, image.layer_folder)
    except BaseException:
        await remove_container(engine, holder)
        raise
    if found.holder is None:
        await remove_container(engine, holder)
    return found


async def _make(engine: ContainerEngine, request: OverlayRequest, holder: str, layer: str) -> SetupOverlays:
    spec, support = request.holder, request.support
    archive = request.folder / "overlays.tar"
    await asyncio.to_thread(_write_folders, archive, len(request.paths), spec, request.mtime)
    await engine.put_archive(holder, HELD, archive)
    state = await engine.inspect(holder)
    held = None if state is None else state.volumes.get(HELD)
    if held is None:
        raise CodingAgentError("the engine made no volume for the folders of an attempt", where=spec.name)
    if not support.is_probed:
        lower = f"{layer}{WORKSPACE}"
        overlay = Overlay(target=PROBED, lower=lower, upper=f"{held}/probe/upper", work=f"{held}/probe/work")
        support.reason_against = await _probe(engine, request, holder, overlay)
        support.is_probed = True
    if support.reason_against is not None:
        return SetupOverlays(copied=tuple(request.paths), reason=support.reason_against)
    overlays, copied = [], []
    for number, path in enumerate(request.paths):
        overlay = Overlay(
            target=f"{WORKSPACE}/{path}",
            lower=f"{layer}{WORKSPACE}/{path}",
            upper=f"{held}/{number}/upper",
            work=f"{held}/{number}/work",
        )
        # The engine mounts by path, as root. A link on the way could make the lower folder any folder of the
        # host.
        if overlay.is_expressible and await _is_free_of_links(engine, holder, path):
            overlays.append(overlay)
        else:
            copied.append(path)
    reason = "the path has a link, a comma or too many characters" if copied else ""
    return SetupOverlays(
        overlays=tuple(overlays), holder=spec.name if overlays else None, copied=tuple(copied), reason=reason
    )


async def _is_free_of_links(engine: ContainerEngine, holder: str, path: str) -> bool:
    parts = f"{WORKSPACE.lstrip('/')}/{path}".split("/")
    above = ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return all([await engine.is_folder(holder, each) for each in above])


async def _probe(
    engine: ContainerEngine, request: OverlayRequest, holder: str, overlay: Overlay
) -> str | None:
    """Why a container cannot use an overlay; None when it can."""
    spec = replace(request.probe, mounts=(overlay,), volumes_from=holder)
    await engine.remove(spec.name)
    container = None
    try:
        container = await create_container(engine, spec)
        await engine.start(container)
        async with asyncio.timeout(PROBE_SECONDS):
            exit_code = (await engine.wait(container)).exit_code
        if exit_code != 0 or not await engine.is_folder(holder, f"{HELD}/probe/upper/{_MARK}"):
            return "a container cannot read or write an overlay here"
    except CodingAgentError as error:
        return error.what
    except TimeoutError:
        return f"a container with an overlay did not end within {PROBE_SECONDS:g} s"
    finally:
        if container is not None:
            await remove_container(engine, container)
    return None


def _write_folders(archive: Path, count: int, spec: ContainerSpec, mtime: float) -> None:
    """Write a tar with two empty folders of the user for each overlay, below folders that are root's."""
    user = (spec.uid, spec.gid)
    with tarfile.open(archive, "w") as tar:
        for number in ("probe", *map(str, range(count))):
            for name, mode, owner in (
                # Root's, and closed: a process in the container must not replace the folders that the kernel
                # uses for the mount.
                (number, 0o700, (0, 0)),
                (f"{number}/upper", 0o755, user),
                (f"{number}/work", 0o755, user),
            ):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, mode, mtime
                entry.uid, entry.gid = owner
                tar.addfile(entry)
