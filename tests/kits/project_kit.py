"""Projects with dependencies; their lock files are made here, because they hold addresses."""

import os
import secrets

from e2e_kit import IMAGE, ORDINARY, REPORT, Done, Scene, docker

OWN_SETUP = ("-c", f'environment.variables={{SUITE="{secrets.token_hex(8)}"}}')
"""Setup images of this session alone: one that an earlier session left would be reused."""
AGENT_HEAD = f"set -e\n{REPORT}"


def owner() -> int:
    """Who owns the folder of a project whose programs refuse to be root."""
    return ORDINARY if os.geteuid() == 0 else os.geteuid()


def lock(scene: Scene, command: str) -> None:
    """Run a package manager of the agent image on the code folder, as its owner."""
    user = f"{scene.owner}:{scene.owner}"
    mount = f"type=bind,source={scene.folder},target=/workspace"
    docker(
        "run", "--rm", "--user", user, "--env", "HOME=/tmp", "--mount", mount, IMAGE, "bash", "-c", command
    )


def verdicts(done: Done) -> list[tuple[int, str, str]]:
    """Of every gate of a task, in its first round: attempt, gate, verdict."""
    return [(each["attempt"], each["gate"], each["verdict"]) for each in done.first_rounds if each["task"]]
