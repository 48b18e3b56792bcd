"""The shell scripts, run for real, where something they need is missing or not as it should be."""

import os
import shlex
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from orchestrator.subprocesses import run

Without = Callable[..., Mapping[str, str]]


def no_daemon() -> Mapping[str, str]:
    return {**os.environ, "DOCKER_HOST": "unix:///nonexistent/docker.sock"}


async def outcome(
    *argv: str | Path,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float = 60,
) -> tuple[int, str]:
    ended = await run(["bash", *map(str, argv)], timeout=timeout, env=env, stdin=stdin)
    return ended.exit_code, (ended.stdout + ended.stderr).decode()


async def test_the_scripts_pass_shellcheck(root: Path, needs: Callable[[str], None]) -> None:
    needs("shellcheck")
    files = [*sorted((root / "scripts").glob("*.sh")), root / ".ci" / "run"]
    checked = await run(["shellcheck", *map(str, files)], timeout=60, cwd=root)
    assert checked.exit_code == 0, checked.stdout.decode()


@pytest.mark.parametrize("script", ["coding-agent-init.sh", "coding-agent-shell.sh"])
async def test_without_the_docker_command(scripts: Path, script: str, environment_without: Without) -> None:
    exit_code, said = await outcome(scripts / script, env=environment_without("docker"))
    assert exit_code == 1
    assert said.startswith("Error: the docker command is missing.\n")


@pytest.mark.parametrize("script", ["coding-agent-init.sh", "coding-agent-shell.sh"])
async def test_without_a_daemon(scripts: Path, script: str, needs: Callable[[str], None]) -> None:
    needs("docker")
    exit_code, said = await outcome(scripts / script, env=no_daemon())
    assert exit_code == 1
    assert "daemon does not answer" in said


async def test_building_without_a_daemon_has_an_exit_code_of_its_own(
    scripts: Path, needs: Callable[[str], None]
) -> None:
    needs("docker")
    exit_code, said = await outcome(scripts / "build-image.sh", env=no_daemon())
    assert exit_code == 3
    assert "Cannot connect to the Docker daemon at unix:///nonexistent/docker.sock" in said


async def test_an_engine_that_the_caller_chose_is_not_replaced(
    scripts: Path, needs: Callable[[str], None]
) -> None:
    needs("docker")
    exit_code, said = await outcome(scripts / "docker-engine.sh", env=no_daemon())
    assert exit_code == 1
    assert "the chosen engine unix:///nonexistent/docker.sock does not answer" in said
    assert "Starting" not in said and "Installing" not in said


@pytest.mark.docker
async def test_a_shell_without_a_container_says_how_to_start_one(scripts: Path) -> None:
    name = f"ktrdr-test-{uuid.uuid4().hex[:8]}"
    exit_code, said = await outcome(scripts / "coding-agent-shell.sh", name)
    assert exit_code == 1
    assert f"the container {name} is not running" in said
    assert "The orchestrator starts a container" in said
    assert f"docker run -d --name {name} \\\n    -v /path/to/code:/workspace \\\n" in said
    assert "--add-host=host.docker.internal:host-gateway" in said
    assert "scripts/coding-agent-init.sh" in said


@pytest.mark.docker
async def test_a_shell_in_a_running_container(scripts: Path) -> None:
    name = f"ktrdr-test-{uuid.uuid4().hex[:8]}"
    started = await run(["docker", "run", "-d", "--name", name, "ktrdr-coding-agent:latest"], timeout=60)
    assert started.exit_code == 0, started.stderr.decode()
    try:
        assert await outcome(scripts / "coding-agent-shell.sh", name, stdin=b"pwd; exit 7\n") == (
            7,
            "/workspace\n",
        )
    finally:
        await run(["docker", "rm", "-f", name], timeout=60)


@pytest.mark.docker
async def test_init_makes_the_shared_data_folder_and_the_image(scripts: Path, tmp_path: Path) -> None:
    # Without the engine's build cache, the base image and the agent are installed again.
    exit_code, said = await outcome(
        scripts / "coding-agent-init.sh", env={**os.environ, "HOME": str(tmp_path)}, timeout=280
    )
    assert exit_code == 0, said
    assert (tmp_path / "Documents" / "ktrdr-shared" / "data").is_dir()
    assert "The image ktrdr-coding-agent:latest is ready." in said


async def test_at_a_terminal_installing_is_asked_for_first(
    scripts: Path, needs: Callable[[str], None]
) -> None:
    needs("script")
    needs("apt-get")
    command = shlex.join(["bash", f"{scripts}/install-packages.sh", "A test", "no-such-package"])
    env = {name: value for name, value in os.environ.items() if name != "YES"}
    asked = await run(["script", "-qec", command, "/dev/null"], timeout=60, env=env, stdin=b"n\n")
    said = asked.stdout.decode()
    assert asked.exit_code == 1
    assert "A test is missing. Install no-such-package with apt-get? [y/N]" in said
    assert "A test was not installed." in said and "Installing" not in said


async def test_without_apt_get_the_packages_are_named(scripts: Path, environment_without: Without) -> None:
    exit_code, said = await outcome(
        scripts / "install-packages.sh", "A test", "one", "two", env=environment_without("apt-get")
    )
    assert exit_code == 1
    assert (
        said == "Error: A test is missing, and there is no apt-get to install it.\nInstall by hand: one two\n"
    )


async def test_without_a_python_that_is_new_enough(
    root: Path, tmp_path: Path, environment_without: Without
) -> None:
    copy = tmp_path / "a checkout"
    shutil.copytree(root / "scripts", copy / "scripts")
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(root / name, copy)
    exit_code, said = await outcome(copy / "scripts" / "venv.sh", env=environment_without("python"))
    assert exit_code == 1
    assert said.startswith("Error: no Python of version 3.11 or later on PATH.")
    assert not (copy / ".venv").exists()


async def test_an_up_to_date_environment_is_left_alone(root: Path) -> None:
    stamp = root / ".venv" / "setup.stamp"
    made_from = ["pyproject.toml", "requirements.lock", "scripts/bootstrap.lock", "scripts/venv.sh"]
    newest = max((root / name).stat().st_mtime for name in made_from)
    if not stamp.exists() or stamp.stat().st_mtime < newest:
        pytest.skip("there is no .venv that `make setup` has just brought up to date")
    before = stamp.stat().st_mtime_ns
    assert await outcome(root / "scripts" / "venv.sh") == (0, "")
    assert stamp.stat().st_mtime_ns == before


async def certificates(scripts: Path, variables: Mapping[str, str]) -> str:
    unset = {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}
    env = {name: value for name, value in os.environ.items() if name not in unset}
    exit_code, said = await outcome(
        "-c", 'source "$0"; machine_certificates', scripts / "lib.sh", env={**env, **variables}
    )
    assert exit_code == 0
    return said.strip()


async def test_the_machines_certificates_are_those_the_caller_names(scripts: Path, tmp_path: Path) -> None:
    first, second, missing = (tmp_path / name for name in ("first", "second", "missing"))
    first.touch()
    second.touch()
    both = {"SSL_CERT_FILE": str(first), "REQUESTS_CA_BUNDLE": str(second)}
    assert await certificates(scripts, both) == str(first)
    assert await certificates(scripts, {**both, "SSL_CERT_FILE": str(missing)}) == str(second)
    assert await certificates(scripts, {}) not in (str(first), str(second))


STUB = """#!/bin/sh
test "$1" = build || exit 0
for word; do echo "[$word]"; done
"""


@pytest.mark.parametrize(
    ("address", "passed"),
    [
        ("http://proxy.example:3128", True),
        ("192.0.2.7:3128", True),
        ("http://127.example.org:3128", True),
        ("http://127.0.0.1:3128", False),
        ("LOCALHOST.:3128", False),
        ("http://[::1]:3128/", False),
        ("socks5://0.0.0.0:1080", False),
        ("http://ada:canary@127.0.0.1:3128", False),
    ],
)
async def test_a_build_gets_the_proxies_that_a_container_can_reach(
    scripts: Path, tmp_path: Path, address: str, passed: bool
) -> None:
    stub = tmp_path / "docker"
    stub.write_text(STUB)
    stub.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "HTTP_PROXY": address, "NO_PROXY": "localhost"}
    exit_code, said = await outcome(scripts / "build-image.sh", env=env)
    assert exit_code == 0, said
    assert (f"[HTTP_PROXY={address}]" in said) is passed
    assert ("HTTP_PROXY " in said) is not passed and "canary" not in said
    assert passed or "[HTTP_PROXY=]" in said
    assert "[NO_PROXY=localhost]" in said
