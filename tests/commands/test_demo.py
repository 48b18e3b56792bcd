"""`demo`: an environment without anything of the user's, and a scratch repository."""

import os
from pathlib import Path

import pytest

from orchestrator.commands.demo import MODEL, choose_environment, find_example, make_repository
from orchestrator.errors import EnvironmentInvalid, UsageError
from orchestrator.subprocesses import run

OF_THE_USER = {
    "HOME": "/home/ada",
    "ORCHESTRATOR_AGENT_NAME": "nop",
    "ANTHROPIC_API_KEY": "a key",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
    "CLAUDE_CODE_OAUTH_TOKEN": "a token",
    "GIT_DIR": "/elsewhere/.git",
}


@pytest.mark.parametrize("live", [False, True])
def test_nothing_of_the_users_steers_it(live: bool) -> None:
    credentials = {"ANTHROPIC_API_KEY": "a key", "CLAUDE_CODE_OAUTH_TOKEN": "a token"} if live else {}
    assert choose_environment(OF_THE_USER, Path("/empty"), live=live) == {
        "HOME": "/home/ada",
        "XDG_CONFIG_HOME": "/empty",
        **credentials,
    }


def test_the_real_model_needs_a_credential() -> None:
    with pytest.raises(UsageError) as refused:
        choose_environment({"ANTHROPIC_API_KEY": ""}, Path("/empty"), live=True)
    assert "Set ANTHROPIC_API_KEY" in str(refused.value)


async def test_the_scratch_repository(tmp_path: Path) -> None:
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    first, second = [await make_repository(environ, find_example()) for _ in range(2)]
    assert first != second and first.parent == tmp_path / "cache" / "ktrdr-orchestrator"
    shown = await run(["git", "-C", str(first), "log", "--format=%s", "--name-only", "main"], timeout=60)
    assert shown.stdout.decode().split("\n\n") == ["chore: start of the demo", ".gitignore\nplan.md\n"]
    assert not (first / MODEL).exists()


async def test_a_cache_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentInvalid) as refused:
        await make_repository({"XDG_CACHE_HOME": str(tmp_path / "file")}, find_example())
    assert "XDG_CACHE_HOME" in str(refused.value) and "cannot be made" in str(refused.value)


async def test_the_example_of_a_read_only_installation(tmp_path: Path) -> None:
    example = tmp_path / "installed"
    example.mkdir()
    (example / "plan.md").write_text("# A plan\n")
    (example / "plan.md").chmod(0o444)
    example.chmod(0o555)
    folder = await make_repository({**os.environ, "XDG_CACHE_HOME": str(tmp_path)}, example)
    assert folder.stat().st_mode & 0o200 and (folder / "plan.md").stat().st_mode & 0o200
