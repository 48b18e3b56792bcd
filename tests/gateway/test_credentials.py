"""Sources of the credential, their order, and the rule that no error shows it."""

import os
from pathlib import Path

import pytest

from orchestrator.agents.base import CredentialKind
from orchestrator.config.settings import Credentials
from orchestrator.errors import EnvironmentInvalid
from orchestrator.gateway import credentials
from orchestrator.gateway.access import Credential
from orchestrator.gateway.credentials import find_credential

KEY, TOKEN = "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"
BOTH: tuple[CredentialKind, ...] = ("api_key", "oauth_token")
CANARY = "sk-ant-api03-canary"


@pytest.mark.parametrize(
    ("environ", "kinds", "found"),
    [
        pytest.param({}, BOTH, None, id="absent"),
        pytest.param({KEY: "  \n"}, BOTH, None, id="blank"),
        pytest.param({KEY: " sk-1\n"}, BOTH, ("api_key", "sk-1"), id="with white space"),
        pytest.param({TOKEN: "t-1"}, BOTH, ("oauth_token", "t-1"), id="a subscriber's token"),
        pytest.param({TOKEN: "t-1", KEY: ""}, BOTH, ("oauth_token", "t-1"), id="a key that is empty"),
        pytest.param({TOKEN: "t-1"}, BOTH[:1], None, id="a token that the agent cannot use"),
        pytest.param({TOKEN: "t-1", KEY: "sk-1"}, BOTH[:1], ("api_key", "sk-1"), id="the one it can use"),
        pytest.param({TOKEN: "t-1", KEY: "sk-1"}, (), None, id="an agent without a model"),
    ],
)
async def test_the_credential_of_the_environment(
    environ: dict[str, str], kinds: tuple[CredentialKind, ...], found: tuple[str, str] | None
) -> None:
    credential = await find_credential(Credentials(), environ, kinds)
    assert (None if credential is None else (credential.kind, credential.value)) == found


@pytest.mark.parametrize("name", [KEY, TOKEN])
@pytest.mark.parametrize("value", ["sk canary", "sk-canary\r\nx: y", "sk-canary-ä"])
async def test_an_invalid_credential_is_refused_without_quoting_it(value: str, name: str) -> None:
    assert "canary" not in await refusal(Credentials(), {name: value})


async def refusal(settings: Credentials, environ: dict[str, str]) -> str:
    with pytest.raises(EnvironmentInvalid) as caught:
        await find_credential(settings, environ, BOTH)
    assert caught.value.exit_code == 2
    return str(caught.value)


async def test_several_credentials_are_refused_by_name() -> None:
    environ = {KEY: CANARY, TOKEN: "t-1", f"{KEY}_FILE": "/nowhere"}
    settings = Credentials(command=("false",), source="keyring:ktrdr")
    said = await refusal(settings, environ)
    for name in (KEY, f"{KEY}_FILE", TOKEN, "credentials.command", "credentials.source", "credentials.use"):
        assert name in said
    assert CANARY not in said


@pytest.mark.parametrize(("use", "value"), [("api_key", "sk-1"), ("oauth_token", "t-1")])
async def test_use_chooses_between_kinds(use: CredentialKind, value: str) -> None:
    found = await find_credential(Credentials(use=use), {KEY: "sk-1", TOKEN: "t-1"}, BOTH)
    assert found == Credential(kind=use, value=value)


async def test_use_does_not_choose_between_sources_of_one_kind() -> None:
    said = await refusal(Credentials(use="api_key"), {KEY: "sk-1", f"{KEY}_FILE": "/nowhere"})
    assert "Remove all but one" in said


def key_file(folder: Path, content: str, mode: int) -> dict[str, str]:
    path = folder / "key"
    path.write_text(content)
    path.chmod(mode)
    return {f"{KEY}_FILE": str(path)}


async def test_a_private_file_holds_the_key(tmp_path: Path) -> None:
    found = await find_credential(Credentials(), key_file(tmp_path, f"{CANARY}\nsecond\n", 0o600), BOTH)
    assert found == Credential(kind="api_key", value=CANARY)
    assert found is not None and found.source == f"{KEY}_FILE"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
async def test_a_file_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    said = await refusal(Credentials(), key_file(tmp_path, CANARY, mode))
    assert f"mode {mode:04o}" in said and "chmod 600" in said and CANARY not in said


@pytest.mark.parametrize("what", ["absent", "a folder", "a pipe", "empty"])
async def test_a_file_without_a_key_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "key"
    match what:
        case "a folder":
            path.mkdir()
        case "a pipe":
            os.mkfifo(path, 0o600)
        case "empty":
            path.touch(0o600)
    assert str(path) in await refusal(Credentials(), {f"{TOKEN}_FILE": str(path)})


def shell(script: str) -> Credentials:
    return Credentials(command=("bash", "-c", script))


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        pytest.param(f"echo {CANARY}", "api_key", id="a key"),
        pytest.param("echo sk-ant-oat01-canary", "oauth_token", id="a token"),
        pytest.param(f"echo {CANARY}; echo second", "api_key", id="two lines"),
        pytest.param(f"echo {CANARY}; head -c 50000000 /dev/zero", "api_key", id="much output"),
    ],
)
async def test_a_command_prints_the_credential(script: str, kind: str) -> None:
    found = await find_credential(shell(script), {}, BOTH)
    assert found is not None and (found.kind, found.source) == (kind, "credentials.command")
    assert found.value.startswith("sk-ant-") and found.value.endswith("canary")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param("true", "printed nothing", id="nothing"),
        pytest.param("echo; echo", "printed nothing", id="blank lines"),
        pytest.param("head -c 50000000 /dev/zero", "cannot be used", id="one long line"),
        pytest.param(f"echo {CANARY} >&2; exit 3", "exit code 3", id="the key in its errors"),
        pytest.param(f"echo {CANARY}; echo no: {CANARY} >&2; exit 1", "no: ***", id="the key in both"),
        pytest.param("echo key a1b2c3d4e5f6a7b8c9d0e1f2-canary >&2; exit 1", "key ***", id="another key"),
        pytest.param("nosuchprogram-9", "exit code 127", id="a missing program"),
    ],
)
async def test_a_command_that_gives_no_credential(script: str, said: str) -> None:
    text = await refusal(shell(script), {})
    assert said in text and "canary" not in text


async def test_a_missing_command_is_named() -> None:
    assert "cannot be started" in await refusal(Credentials(command=("/nosuchprogram",)), {})


async def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "COMMAND_SECONDS", 0.2)
    text = await refusal(shell(f"echo {CANARY}; sleep 60"), {})
    assert "took longer than 0.2 s" in text and "canary" not in text


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module called keyring, which the process that reads the keyring finds."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "keyring.py"


NO_ENTRY = "def get_password(service, user): return None\n"


async def test_a_keyring_holds_the_credential(keyring: Path) -> None:
    keyring.write_text("def get_password(service, user): return 'sk-' + service\n")
    found = await find_credential(Credentials(source="keyring:my"), {}, BOTH)
    assert found == Credential(kind="api_key", value="sk-my")
    assert found is not None and found.source == "credentials.source"


async def test_an_entry_of_another_user_is_found(keyring: Path) -> None:
    keyring.write_text(
        f"{NO_ENTRY}class Entry: password = 'sk-1'\ndef get_credential(service, user): return Entry\n"
    )
    found = await find_credential(Credentials(source="keyring:k"), {}, BOTH)
    assert found == Credential(kind="api_key", value="sk-1")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (f"{NO_ENTRY}def get_credential(service, user): return None\n", "no entry for the service k"),
        (f"raise RuntimeError('locked, {CANARY}')\n", "the keyring failed"),
        ("raise ModuleNotFoundError\n", "is not installed"),
    ],
)
async def test_a_keyring_without_the_credential(keyring: Path, module: str, said: str) -> None:
    keyring.write_text(module)
    text = await refusal(Credentials(source="keyring:k"), {})
    assert said in text and "canary" not in text


def test_the_key_is_in_no_representation() -> None:
    found = credentials.list_sources(Credentials(), {KEY: CANARY}, BOTH)
    assert len(found) == 1 and "canary" not in repr(found)
