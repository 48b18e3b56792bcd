"""The agent image, looked into from the outside and from the inside."""

import json
import uuid
from pathlib import Path

import pytest
from claude_code_cli import VERSION

from orchestrator.subprocesses import Completed, run

pytestmark = pytest.mark.docker

IMAGE = "ktrdr-coding-agent:latest"
# Claude Code needs a user that the image does not know to be no obstacle; 0 is a folder that root owns.
USERS = [
    pytest.param(None, id="own"),
    pytest.param("54321:54321", id="unknown"),
    pytest.param("0:0", id="root"),
]


async def docker(*argv: str, timeout: float = 60) -> Completed:
    return await run(["docker", *argv], timeout=timeout)


async def inside(script: str, *options: str, user: str | None = None) -> Completed:
    """Run a script the way containers are run: without capabilities, as any user."""
    profile = ["--init", "--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    as_user = [] if user is None else ["--user", user]
    return await docker("run", "--rm", *profile, *as_user, *options, IMAGE, "bash", "-ec", script)


@pytest.mark.parametrize("user", USERS)
async def test_the_agent_runs_as_any_user(user: str | None) -> None:
    ran = await inside("claude --version", user=user)
    assert ran.stdout.decode().strip() == f"{VERSION} (Claude Code)", ran.stderr.decode()


@pytest.mark.parametrize(
    "tool", ["bash", "curl", "gh", "git", "jq", "make", "node", "npm", "npx", "python3", "rg", "uv", "uvx"]
)
async def test_a_tool_is_installed_and_runs(tool: str) -> None:
    ran = await inside(f"{tool} --version", user="54321:54321")
    assert ran.exit_code == 0, ran.stderr.decode()
    assert ran.stdout.strip()


async def test_python_makes_virtual_environments() -> None:
    ran = await inside("python3 -m venv /tmp/v && /tmp/v/bin/pip --version", user="54321:54321")
    assert ran.exit_code == 0, ran.stderr.decode()


async def test_its_own_user_is_not_root() -> None:
    assert (await inside("id -un")).stdout.decode().strip() == "agent"


async def test_git_works_in_a_folder_of_any_owner(tmp_path: Path) -> None:
    made = await run(["git", "init", "-q", str(tmp_path)], timeout=60)
    assert made.exit_code == 0
    ran = await inside("git status --short", "-v", f"{tmp_path}:/workspace", user="54321:54321")
    assert ran.exit_code in (0, 128), "128: the folder may be closed to other users"
    assert "dubious ownership" not in ran.stderr.decode()


@pytest.mark.parametrize("target", ["/home/agent/.claude", "/env/models", "/env/strategies", "/env/logs"])
async def test_a_fresh_volume_is_writable_by_any_user(target: str) -> None:
    volume = f"ktrdr-test-{uuid.uuid4().hex[:8]}"
    try:
        ran = await inside(f"touch {target}/file", "-v", f"{volume}:{target}", user="54321:54321")
        assert ran.exit_code == 0, ran.stderr.decode()
    finally:
        await docker("volume", "rm", "-f", volume)


async def test_programs_are_pointed_at_the_images_own_certificates() -> None:
    names = ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "PIP_CERT"]
    ran = await inside("; ".join(f'echo "${name}"' for name in names))
    assert set(ran.stdout.decode().split()) == {"/etc/ssl/certs/ca-certificates.crt"}


async def test_the_machines_certificates_are_trusted(scripts: Path) -> None:
    found = await run(
        ["bash", "-c", 'source "$0"; machine_certificates', str(scripts / "lib.sh")], timeout=60
    )
    path = found.stdout.decode().strip()
    if not path:
        pytest.skip("this machine has no bundle of certificates")
    ran = await inside("cat /etc/ssl/certs/ca-certificates.crt")
    last = Path(path).read_text().rsplit("-----BEGIN CERTIFICATE-----", 1)[1].split("-----END")[0]
    assert last.strip() in ran.stdout.decode()


@pytest.mark.parametrize("init", [["--init"], []], ids=["with-init", "without-init"])
async def test_its_command_waits_and_ends_when_asked(init: list[str]) -> None:
    name = f"ktrdr-test-{uuid.uuid4().hex[:8]}"
    await docker("run", "-d", "--name", name, *init, IMAGE)
    try:
        alive = await docker("exec", name, "true")
        assert alive.exit_code == 0, alive.stderr.decode()
        await docker("stop", "--time", "30", name)
        state = json.loads((await docker("container", "inspect", name)).stdout)[0]["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 0), (
            "137 would mean that it had to be killed"
        )
    finally:
        await docker("rm", "-f", name)


async def test_it_carries_the_recipe_it_was_built_from(root: Path) -> None:
    recipe = root / "deploy" / "docker" / "coding-agent"
    for name in ("Dockerfile", "fetch.lock"):
        ran = await inside(f"cat /usr/local/share/ktrdr-coding-agent/{name}")
        assert ran.stdout == (recipe / name).read_bytes(), "make setup builds the image of this checkout"
