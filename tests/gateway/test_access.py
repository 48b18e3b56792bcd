import os
import socket
from pathlib import Path

import pytest

from orchestrator.errors import ConfigurationError, EnvironmentInvalid
from orchestrator.gateway.access import AttemptAccess, AttemptKey, Credential, Provider
from orchestrator.gateway.sockets import attempt_folder, gateway_folder, open_listening_socket, prepare_folder
from orchestrator.subprocesses import Identity


def test_no_repr_shows_a_secret() -> None:
    credential = Credential(kind="api_key", value="sk-canary")
    model = Provider(upstream="https://example.org", credential=credential)
    access = AttemptAccess(run="r", task="1", attempt=1, token_hash="00", uid=1, gid=1, model=model)
    assert "canary" not in repr(access)


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


def test_the_folder_is_private_for_every_umask(tmp_path: Path) -> None:
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
    open_listening_socket(folder, Identity(uid=uid, gid=uid)).close()
    inode = folder.stat().st_ino
    with open_listening_socket(folder, Identity(uid=uid, gid=uid)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "api.sock"))
    assert folder.stat().st_ino == inode
    for path, mode in ((folder, 0o700), (folder / "api.sock", 0o600)):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (uid, mode)
