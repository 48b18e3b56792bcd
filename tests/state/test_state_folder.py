import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentInvalid
from orchestrator.state_folder import NETWORK_FILE_SYSTEMS, file_system_type, open_state_folder, state_folder


@pytest.fixture
def environ(tmp_path):
    return {"HOME": str(tmp_path / "home"), "XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def path(environ):
    return Path(environ["XDG_STATE_HOME"]) / "ktrdr-orchestrator"


def refused(environ, **more):
    with pytest.raises(EnvironmentInvalid) as caught:
        open_state_folder(environ, **more)
    assert caught.value.exit_code == 2
    return caught.value


PLACES = {
    "XDG_STATE_HOME": ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/ktrdr-orchestrator"),
    "HOME": ({"HOME": "/h"}, "/h/.local/state/ktrdr-orchestrator"),
    "empty": ({"XDG_STATE_HOME": "", "HOME": "/h"}, "/h/.local/state/ktrdr-orchestrator"),
}


@pytest.mark.parametrize(("environ", "expected"), PLACES.values(), ids=PLACES)
def test_where_it_is(environ, expected):
    assert state_folder(environ) == Path(expected)


@pytest.mark.parametrize("environ", [{"XDG_STATE_HOME": "x", "HOME": "/h"}, {"HOME": "h"}], ids=str)
def test_relative_places_are_refused(environ):
    assert "is not an absolute path" in refused(environ).what


def test_is_made_private_and_found_again(environ, path):
    first = open_state_folder(environ)
    assert first.path == path
    assert path.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in path.iterdir()] == ["id"]
    assert open_state_folder(environ) == first


def test_is_private_under_an_open_umask(environ, path):
    before = os.umask(0)
    try:
        open_state_folder(environ)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o700


def test_two_folders_have_two_ids(environ, tmp_path):
    other = {**environ, "XDG_STATE_HOME": str(tmp_path / "other")}
    assert open_state_folder(environ).id != open_state_folder(other).id


def test_many_at_once_agree_on_one_id(environ, path):
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: open_state_folder(environ).id, range(64)))
    assert len(ids) == 1
    assert [each.name for each in path.iterdir()] == ["id"]


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o777])
def test_open_to_others_is_refused_with_the_command_that_fixes_it(environ, path, mode):
    open_state_folder(environ)
    path.chmod(mode)
    error = refused(environ)
    assert f"mode {mode:04o}" in error.what
    assert error.hint == f"To fix its mode: chmod 700 {path}"
    path.chmod(0o700)
    open_state_folder(environ)


def test_closed_to_its_owner_is_refused(environ, path):
    open_state_folder(environ)
    path.chmod(0o500)
    assert "cannot be accessed by its owner" in refused(environ).what


def test_a_file_instead_of_the_folder_is_refused(environ, path):
    path.parent.mkdir()
    path.write_text("x")
    error = refused(environ)
    assert "cannot be made: File exists" in error.what
    assert "XDG_STATE_HOME" in (error.hint or "")


def test_a_file_instead_of_a_parent_folder_is_refused(environ, path):
    path.parent.write_text("x")
    assert "cannot be made" in refused(environ).what


def test_a_link_to_our_own_folder_is_accepted(environ, path, tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    path.parent.mkdir()
    path.symlink_to(tmp_path / "real")
    open_state_folder(environ)
    assert (tmp_path / "real/id").is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("link", [False, True])
def test_of_another_user_is_refused(environ, path, tmp_path, link):
    real = tmp_path / "real" if link else path
    real.mkdir(mode=0o700, parents=True)
    if link:
        path.parent.mkdir()
        path.symlink_to(real)
    os.chown(real, 12345, 12345)
    assert "belongs to user 12345" in refused(environ).what


def test_in_the_code_folder_is_refused_and_not_made(environ, path, tmp_path):
    error = refused(environ, outside=tmp_path)
    assert "an agent can change it" in error.what
    assert not path.exists()
    open_state_folder(environ, outside=tmp_path / "state/code")


IDS = {"empty": b"", "other": b"../../x\n", "long": b"0" * 100, "not ASCII": b"\xff" * 8}


@pytest.mark.parametrize("content", IDS.values(), ids=IDS)
def test_damaged_id_is_an_error(environ, path, content):
    open_state_folder(environ)
    (path / "id").write_bytes(content)
    error = refused(environ)
    assert error.where == str(path / "id")
    assert "Remove the file" in (error.hint or "")


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_an_id_that_is_not_a_regular_file_is_an_error(environ, path, kind):
    open_state_folder(environ)
    (path / "id").unlink()
    match kind:
        case "fifo":
            os.mkfifo(path / "id")
        case "link":
            (path / "id").symlink_to("/etc/hostname")
        case _:
            (path / "id").mkdir()
    assert refused(environ).where == str(path / "id")


# From Linux 6.1, with mounts added in the kernel's notation (proc(5)).
MOUNTINFO = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
31 27 0:30 / /home rw,relatime shared:5 - nfs4 server:/home rw,vers=4.2
32 31 254:1 / /home/me/local\040disk rw,relatime shared:6 master:1 - xfs /dev/vdb rw
33 27 0:31 / /mnt/first rw - ext4 /dev/vdc rw
34 27 0:32 / /mnt/first rw - fuse.sshfs me@host: rw
35 27 0:33 / /mnt/\303\251 rw - cifs //server/share rw
"""

TYPES = {
    "/var/lib": "ext4",
    "/": "ext4",
    "/home": "nfs4",
    "/home/me": "nfs4",
    "/homes/me": "ext4",
    "/home/me/local disk/state": "xfs",
    "/mnt/first/x": "fuse.sshfs",
    "/mnt/é": "cifs",
}


@pytest.mark.parametrize("place", TYPES)
def test_file_system_type_by_the_mount_table(place):
    assert file_system_type(MOUNTINFO, place.encode().decode("latin-1")) == TYPES[place]


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3 4", "a b c d /x e f", " - \n"])
def test_an_odd_mount_table_gives_no_type(text):
    assert file_system_type(text, "/x") is None


def test_which_types_are_refused():
    assert {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"} <= NETWORK_FILE_SYSTEMS
    assert (
        not {"ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "ecryptfs"} & NETWORK_FILE_SYSTEMS
    )
