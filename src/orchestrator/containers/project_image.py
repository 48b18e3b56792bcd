"""The agent image with a project's own needs on top: its Dockerfile, then its Debian packages.

Built once for each content: the name of an image carries a hash of everything that it was made from.
"""

import os
import shlex
import stat
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from hashlib import file_digest, sha256
from pathlib import Path

from orchestrator import subprocesses
from orchestrator.containers.base import ContainerEngine, ImageInfo
from orchestrator.containers.images import BUILD_SECONDS
from orchestrator.containers.machine import EXCEPTION_VARIABLES, HTTP_PROXY_VARIABLES, can_be_passed_on
from orchestrator.errors import EnvironmentInvalid
from orchestrator.files import open_regular

REPOSITORY = "ktrdr-project"
LABEL_PROJECT = "ktrdr.project"
"""Of an image that was built here: the state folder whose run needed it. Images on top of it inherit it."""
SHOWN_LINES = 5

# Without a policy, a package that brings a server starts it while the image is built.
_PACKAGES = """\
FROM {base}
USER root
RUN [ -e /usr/sbin/policy-rc.d ] \\
    || {{ printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d && chmod 0755 /usr/sbin/policy-rc.d; }}
RUN apt-get update \\
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {packages} \\
    && rm -rf /var/lib/apt/lists/*
"""

OnLine = Callable[[str], None]


def context_hash(dockerfile: Path) -> str:
    """A hash of all that a build can read: the Dockerfile's folder without `.git`, and the file's name.

    Raises EnvironmentInvalid when something in it cannot be read.
    """
    if not dockerfile.is_file():
        raise EnvironmentInvalid(
            "is not a file (image.dockerfile)",
            where=str(dockerfile),
            hint="Set image.dockerfile to the path of a Dockerfile.",
        )
    digest = sha256(os.fsencode(dockerfile.name))
    try:
        for path in _list_files(dockerfile.parent):
            digest.update(_describe_entry(path, dockerfile.parent))
    except OSError as error:
        raise EnvironmentInvalid(
            f"the build context cannot be read: {error.strerror}",
            where=str(error.filename),
            hint="Check the modes of the files there, or move the Dockerfile to a folder of its own.",
        ) from None
    return digest.hexdigest()


def _list_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=_fail):
        folders[:] = sorted(name for name in folders if name != ".git")
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        yield from (Path(parent) / name for name in sorted([*names, *links]) if name != ".git")


def _fail(error: OSError) -> None:
    raise error


def _describe_entry(path: Path, root: Path) -> bytes:
    """Name, mode and content, each of a fixed length, so that two contexts never read the same."""
    mode = path.lstat().st_mode
    name = os.fsencode(path.relative_to(root))
    return sha256(name).digest() + b"%07o" % mode + _digest(path, mode)


def _digest(path: Path, mode: int) -> bytes:
    if stat.S_ISREG(mode):
        with open_regular(path) as file:
            return file_digest(file, "sha256").digest()
    return sha256(os.fsencode(path.readlink()) if stat.S_ISLNK(mode) else b"").digest()


async def build_with_dockerfile(
    engine: ContainerEngine,
    base: ImageInfo,
    dockerfile: Path,
    context: str,
    state_id: str,
    environ: Mapping[str, str],
    on_line: OnLine,
) -> str:
    """The name of the image that a Dockerfile makes; `context` is its `context_hash`.

    Raises EnvironmentInvalid, in the build's own words, when it fails or does not build on `base`.
    """
    name = name_with_dockerfile(base, context)
    if await engine.image(name) is None:
        on_line(f"building the image of {dockerfile}")
        by_hand = shlex.join(["docker", "build", "--file", str(dockerfile), str(dockerfile.parent)])
        hint = f"To see the whole output, build it yourself: {by_hand}"
        await _build(name, dockerfile, state_id, environ, on_line, setting="image.dockerfile", hint=hint)
    made = await engine.image(name)
    if made is None or made.layers[: len(base.layers)] != base.layers:
        raise EnvironmentInvalid(
            "does not build on the agent image", where=str(dockerfile), hint="Begin it with FROM that image."
        )
    return name


async def build_with_packages(
    engine: ContainerEngine,
    base_name: str,
    base: ImageInfo,
    packages: tuple[str, ...],
    state_id: str,
    environ: Mapping[str, str],
    on_line: OnLine,
) -> str:
    """The name of an image with these Debian packages on top of another. Raises EnvironmentInvalid."""
    name = name_with_packages(base, packages)
    if await engine.image(name) is None:
        on_line(f"building an image with {' '.join(packages)}")
        with tempfile.TemporaryDirectory(prefix="ktrdr-build-") as context:
            recipe = Path(context) / "Dockerfile"
            recipe.write_text(_PACKAGES.format(base=base_name, packages=" ".join(packages)))
            install = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(packages)}"
            by_hand = shlex.join(["docker", "run", "--rm", "--user", "root", base_name, "sh", "-c", install])
            hint = f"Check the names of the packages. To see the whole output: {by_hand}"
            await _build(name, recipe, state_id, environ, on_line, setting="image.packages", hint=hint)
    return name


def name_with_dockerfile(base: ImageInfo, context: str) -> str:
    return _image_name("dockerfile", base.id, context)


def name_with_packages(base: ImageInfo, packages: tuple[str, ...]) -> str:
    return _image_name("packages", base.id, *packages)


def _image_name(*content: str) -> str:
    return f"{REPOSITORY}:{sha256(chr(0).join(content).encode()).hexdigest()[:32]}"


async def _build(
    name: str,
    dockerfile: Path,
    state_id: str,
    environ: Mapping[str, str],
    on_line: OnLine,
    *,
    setting: str,
    hint: str,
) -> None:
    argv = [
        "docker",
        "build",
        "--force-rm",
        "--tag",
        name,
        "--label",
        f"{LABEL_PROJECT}={state_id}",
        "--file",
        str(dockerfile),
        *_proxies(environ),
        str(dockerfile.parent),
    ]
    last: deque[str] = deque(maxlen=SHOWN_LINES)

    def keep(line: str) -> None:
        if line.strip():
            last.append(line)
        on_line(line)

    try:
        exit_code = await subprocesses.run_lines(argv, timeout=BUILD_SECONDS, on_line=keep)
    except FileNotFoundError:
        raise EnvironmentInvalid(
            "the `docker` command is not installed; it builds images", hint="Install Docker's command line."
        ) from None
    except subprocesses.ProcessTimeout as error:
        raise EnvironmentInvalid(
            str(error),
            where=str(dockerfile),
            hint="Make the build shorter, or build the image yourself and name it in image.name.",
        ) from None
    if exit_code != 0:
        raise EnvironmentInvalid(f"the image could not be built ({setting}):\n" + "\n".join(last), hint=hint)


def _proxies(environ: Mapping[str, str]) -> list[str]:
    """The caller's proxies, except those that only this machine can use, or that hold a secret.

    An image keeps its build arguments, and a build runs in a container.
    """
    given = [(name, environ.get(name, "")) for name in HTTP_PROXY_VARIABLES]
    passed = [(name, value) for name, value in given if not value or can_be_passed_on(value)]
    passed += [(name, environ.get(name, "")) for name in EXCEPTION_VARIABLES]
    return [word for name, value in passed for word in ("--build-arg", f"{name}={value}")]
