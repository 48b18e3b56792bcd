"""The cost of a large folder of the setup image for an attempt: a copy against an overlay, in the same run.

Both sides start and remove one container over a folder of the given size; the first one without any folder is
the floor. Run: python benchmarks/setup_folders.py [GIGABYTES] [ROUNDS]
"""

import asyncio
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from orchestrator.containers.base import LABEL_KIND, ContainerEngine, ContainerLimits, ContainerSpec
from orchestrator.containers.engine import connect_engine
from orchestrator.engine.setup_overlays import (
    HELD,
    PROBE_COMMAND,
    OverlayRequest,
    OverlaySupport,
    make_overlays,
)
from orchestrator.mounts import AnonymousVolume

IMAGE = "ktrdr-coding-agent:latest"
FILE_BYTES = 100_000
FILL = """
cd /workspace && mkdir .venv && cd .venv && head -c "$2" /dev/urandom > one
for folder in $(seq 1 $(($1 / 100))); do
    mkdir "$folder" && for file in $(seq 1 100); do cp one "$folder/$file"; done
done
"""


def _spec(image: str, *command: str) -> ContainerSpec:
    return ContainerSpec(
        name=f"ktrdr-benchmark-{uuid.uuid4().hex[:12]}",
        image=image,
        uid=1000,
        gid=1000,
        limits=ContainerLimits(memory_bytes=2 * 1024**3, cpus=None, pids=100),
        command=command,
        labels={LABEL_KIND: "probe"},
        network="none",
    )


async def _make_image(engine: ContainerEngine, files: int) -> str:
    container = await engine.create(_spec(IMAGE, "bash", "-c", FILL, "fill", str(files), str(FILE_BYTES)))
    try:
        await engine.start(container)
        if (await engine.wait(container)).exit_code != 0:
            sys.exit("the folder cannot be made")
        name = f"ktrdr-benchmark:{uuid.uuid4().hex}"
        return await engine.commit(container, name=name, labels={}, env={})
    finally:
        await engine.remove(container)


async def _start_and_remove(engine: ContainerEngine, spec: ContainerSpec) -> tuple[float, float]:
    begun = time.monotonic()
    container = await engine.create(spec)
    await engine.start(container)
    if spec.volumes_from is not None:
        await engine.remove(spec.volumes_from)
    started = time.monotonic()
    await engine.remove(container)
    return started - begun, time.monotonic() - started


async def _measure(engine: ContainerEngine, image: str, rounds: int, scratch: Path) -> None:
    support = OverlaySupport()

    async def floor() -> tuple[float, float]:
        return await _start_and_remove(engine, _spec(image, "sleep", "60"))

    async def copy() -> tuple[float, float]:
        spec = _spec(image, "sleep", "60")
        return await _start_and_remove(
            engine, replace(spec, mounts=(AnonymousVolume(target="/workspace/.venv"),))
        )

    async def overlay() -> tuple[float, float]:
        begun = time.monotonic()
        holder = replace(_spec(image, "true"), mounts=(AnonymousVolume(target=HELD),))
        request = OverlayRequest(
            paths=(".venv",),
            holder=holder,
            probe=replace(_spec(image, *PROBE_COMMAND), working_dir="/"),
            folder=scratch,
            mtime=time.time(),
            support=support,
        )
        made = await make_overlays(engine, request)
        if made.copied:
            sys.exit(f"this engine cannot: {made.reason}")
        prepared = time.monotonic() - begun
        spec = replace(_spec(image, "sleep", "60"), mounts=made.overlays, volumes_from=made.holder)
        started, removed = await _start_and_remove(engine, spec)
        return prepared + started, removed

    await overlay()  # with the probe, which comes once for each run
    sides: dict[str, Callable[[], Awaitable[tuple[float, float]]]] = {
        "no folder": floor,
        "copy": copy,
        "overlay": overlay,
    }
    samples = {name: [await side() for _ in range(rounds)] for name, side in sides.items()}
    medians = {
        name: [statistics.median(times[part] for times in found) for part in (0, 1)]
        for name, found in samples.items()
    }
    for name, (start, remove) in medians.items():
        print(f"{name:10} start {start:7.2f} s   remove {remove:6.2f} s")
    ratio = sum(medians["overlay"]) / sum(medians["copy"])
    print(f"overlay / copy = {ratio:.3f} ({sum(medians['copy']) / sum(medians['overlay']):.0f} times faster)")


async def main(gigabytes: float, rounds: int) -> None:
    async with await connect_engine() as engine:
        files = max(100, round(gigabytes * 1e9 / FILE_BYTES))
        print(f"{gigabytes:g} GB in {files} files, {rounds} rounds, 1 container each (an overlay: 2)")
        image = await _make_image(engine, files)
        try:
            with tempfile.TemporaryDirectory() as scratch:
                await _measure(engine, image, rounds, Path(scratch))
        finally:
            await engine.remove_image(image)


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(main(float(given[0]) if given else 1.0, int(given[1]) if len(given) > 1 else 3))
