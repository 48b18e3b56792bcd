"""Files that an agent could have made are opened without following links and without waiting."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import files
from orchestrator.files import (
    NotFolder,
    NotRegular,
    TooLarge,
    give_to,
    give_tree_to,
    link_atomically,
    open_below,
    open_folder,
    open_own,
    open_regular,
    read_regular,
    write_atomically,
)
from orchestrator.subprocesses import Identity

US = Identity(uid=os.geteuid(), gid=os.getegid())
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
pytestmark = pytest.mark.timeout(20)  # a FIFO that is waited for would hang


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")  # a socket's path has at most 107 bytes
        finally:
            os.close(folder)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root can make a device")


def make_unreadable(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    path.write_text("secret")
    path.chmod(0)


REFUSED: dict[str, tuple[Callable[[Path], object], type[OSError]]] = {
    "a FIFO": (os.mkfifo, NotRegular),
    "a folder": (Path.mkdir, NotRegular),
    "a device": (make_device, NotRegular),
    "a socket": (make_socket, OSError),
    "a link to a file": (lambda path: path.symlink_to("/etc/passwd"), OSError),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), OSError),
    "a file that is closed to us": (make_unreadable, PermissionError),
    "nothing": (lambda path: None, FileNotFoundError),
}


@pytest.mark.parametrize(("make", "error"), REFUSED.values(), ids=REFUSED)
def test_only_a_regular_file_is_read(
    make: Callable[[Path], object], error: type[OSError], tmp_path: Path
) -> None:
    path = tmp_path / "found"
    make(path)
    with pytest.raises(error):
        read_regular(path, limit=10)


def test_a_link_that_the_user_chose_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", limit=10, follow=True) == b"text"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-pipe").symlink_to("pipe")
    with pytest.raises(NotRegular):
        read_regular(tmp_path / "to-pipe", limit=10, follow=True)


def test_the_limit_is_what_may_be_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert read_regular(path, limit=10) == b"0123456789"
    with pytest.raises(TooLarge, match="larger than 9 bytes"):
        read_regular(path, limit=9)


def test_a_file_that_grows_while_it_is_read_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0")
    really = os.fstat

    def grown(descriptor: int) -> os.stat_result:
        found = really(descriptor)
        with path.open("ab") as file:
            file.write(b"0" * 100)
        return found

    monkeypatch.setattr(os, "fstat", grown)
    with pytest.raises(TooLarge):
        read_regular(path, limit=10)


def descriptors() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a").mkdir()
    before = descriptors()
    with pytest.raises(NotRegular):
        open_regular(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        open_below(tmp_path, ["a", "b"])
    with pytest.raises(NotFolder):
        open_below(tmp_path, ["pipe"])
    assert descriptors() == before


WAYS = {"a link": "link", "a file": "file", "a FIFO": "pipe"}


@pytest.mark.parametrize("name", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("inner", [[], ["inner"]], ids=["as the last part", "on the way"])
def test_a_path_leads_through_folders_only(name: str, inner: list[str], tmp_path: Path) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotFolder) as caught:
        open_below(tmp_path, [name, *inner], make_as=US)
    assert caught.value.filename == name


def test_a_folder_that_is_swapped_meanwhile_leads_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code" / "a" / "b").mkdir(parents=True)
    (tmp_path / "outside" / "b").mkdir(parents=True)
    really = open_folder

    def swapped(path: Path | str, *, dir_fd: int | None = None) -> int:
        opened = really(path, dir_fd=dir_fd)
        if path == "a":
            (tmp_path / "code" / "a").rename(tmp_path / "moved")
            (tmp_path / "code" / "a").symlink_to(tmp_path / "outside")
        return opened

    monkeypatch.setattr(files, "open_folder", swapped)
    found = open_below(tmp_path / "code", ["a", "b"])
    try:
        assert os.path.samestat(os.fstat(found), (tmp_path / "moved" / "b").stat())
    finally:
        os.close(found)


def test_missing_folders_are_made(tmp_path: Path) -> None:
    os.close(open_below(tmp_path, ["a", "b"], make_as=US))
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two", sync=False)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"theirs")
    (tmp_path / "file").symlink_to("target")
    write_atomically(tmp_path / "file", b"ours")
    assert (tmp_path / "target").read_bytes() == b"theirs"
    assert not (tmp_path / "file").is_symlink()


def test_the_first_one_stays_without_replacing(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"one", replace=False)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "file", b"two", replace=False)
    assert (tmp_path / "file").read_bytes() == b"one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_relative_to_an_open_folder(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    try:
        write_atomically("file", b"one", dir_fd=folder, owner=US)
        link_atomically("link", b"file", dir_fd=folder, owner=US)
        assert read_regular("file", limit=3, dir_fd=folder) == b"one"
    finally:
        os.close(folder)
    assert (tmp_path / "link").readlink() == Path("file")


class Killed(BaseException):
    """A kill exactly where it is raised: the files look the same."""


@pytest.mark.parametrize("place", ["fsync", "rename"])
def test_a_kill_leaves_the_old_content(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise Killed

    (tmp_path / "file").write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, place, killed)
        patch.setattr(os, "unlink", killed)  # what is killed does not tidy up either
        with pytest.raises(Killed):
            write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_the_content_is_on_disk_before_the_name_leads_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def record(name: str, call: Callable[..., None]) -> None:
        def recorded(*args: Any, **options: Any) -> None:
            steps.append(name)
            call(*args, **options)

        monkeypatch.setattr(os, name, recorded)

    record("fsync", os.fsync)
    record("rename", os.rename)
    write_atomically(tmp_path / "file", b"new")
    assert steps == ["fsync", "rename"]


def test_a_failed_write_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "folder", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_our_own_file_is_private_and_never_a_link(tmp_path: Path) -> None:
    os.close(open_own(tmp_path / "lock"))
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(OSError):
        open_own(tmp_path / "link", append=True)
    assert not (tmp_path / "elsewhere").exists()


@needs_root
def test_a_link_is_given_away_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "of-roots").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "of-roots")
    owner = Identity(uid=1234, gid=1235)
    give_tree_to(tmp_path / "tree", owner)
    assert (tmp_path / "tree" / "link").lstat().st_uid == 1234
    assert (tmp_path / "tree").stat().st_gid == 1235
    assert (tmp_path / "of-roots").stat().st_uid == 0


@needs_root
def test_a_descriptor_is_given_away(tmp_path: Path) -> None:
    with (tmp_path / "file").open("xb") as file:
        give_to(file.fileno(), Identity(uid=1234, gid=1235))
    assert (tmp_path / "file").stat().st_uid == 1234
