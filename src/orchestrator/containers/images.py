"""The agent image: finding its recipe and building it."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

from orchestrator import subprocesses
from orchestrator.errors import CodingAgentError, EnvironmentInvalid
from orchestrator.shipped_files import PACKAGE, find_shipped

BUILD_SECONDS = 3600.0
_INSPECT_SECONDS = 60.0
_NO_ENGINE = 3
"""The build script's exit code if there is no container engine."""


def build_script() -> Path:
    """The script that builds the image.

    Raises EnvironmentInvalid for an installation without it.
    """
    if (script := find_shipped("scripts/build-image.sh")) is not None:
        return script
    raise EnvironmentInvalid(
        "the recipe of the agent image is not part of this installation",
        where=str(PACKAGE),
        hint="Reinstall ktrdr-orchestrator, or build the image from a checkout: scripts/coding-agent-init.sh",
    )


async def build_image(*, name: str, base: str | None, on_line: Callable[[str], None]) -> str:
    """Build the agent image, tag it `name`, and give its id (sha256:…).

    `base` is the image it starts from; None is the recipe's own. `on_line` gets every line of output at
    once. Raises EnvironmentInvalid without an engine and CodingAgentError, in Docker's words, when the
    build fails.
    """
    argv = ["bash", str(build_script()), name, *([] if base is None else [base])]
    last: deque[str] = deque(maxlen=5)

    def keep(line: str) -> None:
        last.append(line)
        on_line(line)

    try:
        exit_code = await subprocesses.run_lines(argv, timeout=BUILD_SECONDS, on_line=keep)
    except subprocesses.ProcessTimeout as error:
        raise CodingAgentError(str(error), where=name) from None
    words = (
        "\n".join(last).strip().removeprefix("Error: ")
        or f"the build ended with exit code {exit_code} and printed nothing"
    )
    if exit_code == _NO_ENGINE:
        raise EnvironmentInvalid(words, hint="To check the engine: orchestrator doctor --check engine")
    if exit_code != 0:
        raise CodingAgentError(words, where=f"image {name}")
    inspected = await subprocesses.run(
        ["docker", "image", "inspect", "--format", "{{.Id}}", name], timeout=_INSPECT_SECONDS
    )
    if inspected.exit_code != 0:
        raise CodingAgentError(inspected.stderr.decode("utf-8", "replace").strip(), where=f"image {name}")
    return inspected.stdout.decode().strip()
