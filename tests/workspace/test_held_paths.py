"""Credentials and settings of tools in a commit: named, so that the landing can wait for the user."""

import pytest

from orchestrator.workspace.held_paths import find_held_paths, is_credential_name, is_tool_setting

BEGIN = "-----BEGIN"


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "api/.env",
        ".ENV",
        ".env.local",
        ".env.production.local",
        "prod.env",
        ".netrc",
        ".git-credentials",
        "deploy/id_ed25519",
        "certs/server.p12",
        "home/.aws/credentials",
        ".docker/config.json",
    ],
)
def test_names_of_credentials(path):
    assert is_credential_name(path)


@pytest.mark.parametrize(
    "path",
    [
        ".env.example",
        ".env.sample",
        ".env.local.example",
        "example.env",
        ".envrc",
        "env",
        "src/env.py",
        ".env/readme.md",
        "id_rsa.pub",
        "docs/credentials",
        "config.json",
    ],
)
def test_names_of_other_files(path):
    assert not is_credential_name(path)


@pytest.mark.parametrize(
    ("path", "is_held"),
    [
        (".claude/settings.json", True),
        (".claude/settings.local.json", True),
        ("web/.claude/settings.json", True),
        (".Claude/Settings.json", True),
        (".claude/commands/fix.md", False),
        (".mcp.json", True),
        ("web/.mcp.json", True),
        (".cursor/mcp.json", True),
        ("docs/mcp.json", False),
        (".vscode/tasks.json", True),
        (".vscode/extensions.json", False),
        ("tasks.json", False),
        ("app.code-workspace", True),
        ("tools/hooks/pre-commit", True),
        ("tools/hooks.md", False),
    ],
)
def test_settings_of_tools_on_the_host(path, is_held):
    assert is_tool_setting(path, hooks="tools/hooks") == is_held


@pytest.mark.parametrize("path", [".claude", "web/.vscode", "tools", "tools/hooks"])
def test_a_link_in_the_place_of_a_folder_of_settings_counts(path):
    assert is_tool_setting(path, hooks="tools/hooks", is_link=True)
    assert not is_tool_setting("docs", hooks="tools/hooks", is_link=True)


SECRETS = {
    "a private key": f"{BEGIN} OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n",
    "a key of GPG": f"{BEGIN} PGP PRIVATE KEY BLOCK-----\n",
    "a key in JSON": f'{{"private_key": "{BEGIN} PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0B"}}\n',
    "a key in a program": f'KEY = """{BEGIN} RSA PRIVATE KEY-----\nMIIE\n"""\n',
    "a token of GitHub": f"token: ghp_{'a1B2' * 9}\n",
    "a token of GitLab": f"x=glpat-{'a1B2' * 5}\n",
    "a key of Anthropic": f"key='sk-ant-api03-{'a1B2' * 9}'\n",
    "a key of AWS": f"id = AKIA{'A2B3' * 4}\n",
    "a token of npm": "//registry.example.org/:_authToken=0a1b2c3d\n",
    "a token among bytes": b"\0\1\2 ghp_" + b"a1B2" * 9 + b"\0",
}
OTHERS = {
    "a program that reads keys": f'if line == "{BEGIN} PRIVATE KEY-----":\n    pass\n',
    "a public key": f"{BEGIN} PUBLIC KEY-----\nMIIB\n",
    "a variable of npm": "//registry.example.org/:_authToken=${NPM_TOKEN}\n",
    "a hash": f"sha512-{'AKIAB2' * 12}==\n",
    "words": "task-list, ghp_ and sk-ant- are prefixes of tokens\n",
}


@pytest.mark.parametrize("content", SECRETS.values(), ids=SECRETS)
async def test_a_new_file_with_a_secret_is_held(own_project, content):
    assert await held_of(own_project, {"notes.txt": content}) == {"notes.txt": "credential"}


async def test_files_without_a_secret_are_not_held(own_project):
    files = {f"{number}.txt": content for number, content in enumerate(OTHERS.values())}
    assert await held_of(own_project, files) == {}


async def test_only_new_credentials_and_every_change_of_settings_are_held(own_project):
    token = f"ghp_{'a1B2' * 9}\n"
    for path, content in {".env.local": "A=1", "old.txt": token, ".mcp.json": "{}", "b.txt": "b"}.items():
        own_project.write(path, content)
    await own_project.commit()
    files = {".env.local": "A=2", "old.txt": f"{token}more\n", ".mcp.json": '{"a": 1}', "b.txt": "c"}
    assert await held_of(own_project, files) == {".mcp.json": "settings"}


async def test_a_file_that_was_moved_is_not_new_but_its_name_may_be(own_project):
    token = f"ghp_{'a1B2' * 9}\n"
    own_project.write("tests/fixture.txt", token)
    await own_project.commit()
    (own_project.folder / "tests/fixture.txt").unlink()
    assert await held_of(own_project, {"fixtures/fixture.txt": token, "secrets.env": token}) == {
        "secrets.env": "credential"
    }


async def test_attributes_of_an_agent_do_not_hide_a_secret(own_project):
    files = {".gitattributes": "*.txt -diff binary\n", "a.txt": f"ghp_{'a1B2' * 9}\n"}
    assert await held_of(own_project, files) == {"a.txt": "credential"}


@pytest.mark.parametrize(
    ("configured", "path"),
    [
        ("tools/hooks", "tools/hooks/pre-push"),
        ("./tools/../.githooks", ".githooks/pre-commit"),
        (".husky/_", ".husky/pre-commit"),
        ("{folder}/hooks", "hooks/commit-msg"),
    ],
)
async def test_hooks_that_the_users_git_starts_are_held(own_project, configured, path):
    await own_project.git("config", "core.hooksPath", configured.format(folder=own_project.folder))
    assert await held_of(own_project, {path: "exit 1\n", "src/new.py": ""}) == {path: "settings"}


@pytest.mark.parametrize("configured", [None, "/etc/hooks", ".git/hooks"])
async def test_folders_of_hooks_elsewhere_hold_nothing(own_project, configured):
    if configured is not None:
        await own_project.git("config", "core.hooksPath", configured)
    assert await held_of(own_project, {"hooks/pre-push": "exit 1\n"}) == {}


async def held_of(project, files):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    for path, content in files.items():
        project.write(path, content)
    snapshot = await workspace.tree.snapshot(exclude=frozenset(), baseline=await workspace.tree.baseline())
    made = await workspace.tree.build_candidate(
        snapshot, parent=base, message="m\n", overlay={}, ref="refs/c/1", base=base
    )
    found = await find_held_paths(workspace.store, base, made.commit, hooks=workspace.user.hooks)
    return {held.path: held.kind for held in found}
