import os
import socket
from pathlib import Path

import pytest

from orchestrator.agents.base import CredentialKind
from orchestrator.errors import ConfigurationError, EnvironmentInvalid
from orchestrator.gateway.access import AttemptAccess, AttemptKey, Credential, Provider, credential_from
from orchestrator.gateway.sockets import attempt_folder, gateway_folder, listening_socket, prepare_folder
from orchestrator.subprocesses import Identity


def test_no_repr_shows_a_secret() -> None:
    credential = Credential(kind="api_key", value="sk-canary")
    model = Provider(upstream="https://example.org", credential=credential)
    access = AttemptAccess(run="r", task="1", attempt=1, token="tok-canary", uid=1, gid=1, model=model)
    assert "canary" not in repr(access)


KEY, TOKEN = "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"
BOTH: tuple[CredentialKind, ...] = ("api_key", "oauth_token")


@pytest.mark.parametrize(
    ("environ", "kinds", "found"),
    [
        pytest.param({}, BOTH, None, id="absent"),
        pytest.param({KEY: "  \n"}, BOTH, None, id="blank"),
        pytest.param({KEY: " sk-1\n"}, BOTH, ("api_key", "sk-1"), id="with white space"),
        pytest.param({TOKEN: "t-1"}, BOTH, ("oauth_token", "t-1"), id="a subscriber's token"),
        pytest.param({TOKEN: "t-1", KEY: "sk-1"}, BOTH, ("api_key", "sk-1"), id="both: the key"),
        pytest.param({TOKEN: "t-1", KEY: ""}, BOTH, ("oauth_token", "t-1"), id="a key that is empty"),
        pytest.param({TOKEN: "t-1"}, BOTH[:1], None, id="a token that the agent cannot use"),
        pytest.param({TOKEN: "t-1", KEY: "sk-1"}, (), None, id="an agent without a model"),
    ],
)
def test_the_credential_of_the_environment(
    environ: dict[str, str], kinds: tuple[CredentialKind, ...], found: tuple[str, str] | None
) -> None:
    credential = credential_from(environ, kinds)
    assert (None if credential is None else (credential.kind, credential.value)) == found


@pytest.mark.parametrize("name", [KEY, TOKEN])
@pytest.mark.parametrize("value", ["sk canary", "sk-canary\r\nx: y", "sk-canary-ä"])
def test_an_invalid_credential_is_refused_without_quoting_it(value: str, name: str) -> None:
    with pytest.raises(EnvironmentInvalid) as caught:
        credential_from({name: value}, BOTH)
    assert "canary" not in str(caught.value) and caught.value.where == name


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://x",
        "https://",
        "http://[::1",
        "https://u:p@x",
        "https://x:y",
        "https://x?y",
        "https://x#y",
    ],
)
def test_an_invalid_upstream_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"gateway\.upstream"):
        Provider(upstream=url, credential=Credential(kind="api_key", value="sk-1"))


def test_the_longest_ids_fit_into_a_sockets_path() -> None:
    key = AttemptKey("r" * 40, "t" * 200, 10**6)
    assert len(str(attempt_folder(gateway_folder(Path("/s" * 100)), key) / "api.sock")) <= 107 - 20


def test_attempts_and_state_folders_have_folders_of_their_own(tmp_path: Path) -> None:
    folder = gateway_folder(tmp_path)
    assert attempt_folder(folder, AttemptKey("a", "b", 11)) != attempt_folder(
        folder, AttemptKey("a", "b1", 1)
    )
    assert gateway_folder(tmp_path) == gateway_folder(tmp_path / "x" / "..") != gateway_folder(tmp_path / "x")


def a_link(above: Path) -> None:
    above.with_name("elsewhere").mkdir(mode=0o700)
    above.symlink_to(above.with_name("elsewhere"))


def owned_by_another_user(above: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    above.mkdir(mode=0o700)
    os.chown(above, 54321, 54321)


def open_to_all(above: Path) -> None:
    above.mkdir()
    above.chmod(0o777)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        pytest.param(a_link, "symbolic link", id="link"),
        pytest.param(Path.touch, "is not a folder", id="file"),
        pytest.param(open_to_all, "mode 0777", id="open to all"),
        pytest.param(owned_by_another_user, "belongs to user 54321", id="owned by another user"),
    ],
)
def test_a_hostile_folder_is_refused(tmp_path: Path, make: object, what: str) -> None:
    above = tmp_path / "ktrdr-0"
    assert callable(make)
    make(above)
    with pytest.raises(EnvironmentInvalid, match=what):
        prepare_folder(above / "id")


def test_the_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o277)
    try:
        prepare_folder(tmp_path / "ktrdr-0" / "id")
    finally:
        os.umask(old)
    prepare_folder(tmp_path / "ktrdr-0" / "id")
    assert (tmp_path / "ktrdr-0" / "id").stat().st_mode & 0o777 == 0o700


def test_a_socket_is_remade_in_the_same_folder_for_the_agents_user(sockets: Path) -> None:
    uid = 12345 if os.geteuid() == 0 else os.geteuid()
    folder = sockets / "attempt"
    listening_socket(folder, Identity(uid=uid, gid=uid)).close()
    inode = folder.stat().st_ino
    with listening_socket(folder, Identity(uid=uid, gid=uid)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "api.sock"))
    assert folder.stat().st_ino == inode
    for path, mode in ((folder, 0o700), (folder / "api.sock", 0o600)):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (uid, mode)
