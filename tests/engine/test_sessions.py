"""Carrying a session out of a HOME that an agent owned: nothing in it can lead, hold or flood us."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.engine import sessions
from orchestrator.engine.sessions import MAX_DEPTH, carry_session, has_session
from orchestrator.subprocesses import Identity

SESSION = ".agent/projects/s.jsonl"
EXTRAS = ".agent/projects/s"
FILES = (SESSION, EXTRAS)
ME = Identity(uid=os.geteuid(), gid=os.getegid())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    home = tmp_path / "old"
    write(home / SESSION, b"turns")
    return home


@pytest.fixture
def new(tmp_path: Path) -> Path:
    home = tmp_path / "new"
    home.mkdir()
    return home


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def carried(home: Path) -> dict[str, bytes]:
    """Everything in a HOME but folders, without following links."""
    found = {}
    for parent, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = Path(parent) / name
            assert not path.is_symlink()
            if not path.is_dir():
                found[str(path.relative_to(home))] = path.read_bytes()
    return found


def test_session_files_are_copied_and_nothing_else(old: Path, new: Path) -> None:
    write(old / EXTRAS / "sub" / "agent.jsonl", b"more")
    write(old / ".bashrc", b"evil")
    write(old / ".agent" / "settings.json", b"hooks")
    carry_session(old, new, FILES, ME)
    assert carried(new) == {SESSION: b"turns", f"{EXTRAS}/sub/agent.jsonl": b"more"}


def test_copies_are_private_and_never_executable(old: Path, new: Path) -> None:
    write(old / EXTRAS / "run.sh").chmod(0o4777)
    carry_session(old, new, FILES, ME)
    modes = {path.stat().st_mode & 0o7777 for path in new.rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o7777 for path in new.rglob("*") if path.is_dir()}
    assert modes == {0o600} and folders == {0o700}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_copies_belong_to_the_containers_user(old: Path, new: Path) -> None:
    write(old / EXTRAS / "a")
    carry_session(old, new, FILES, Identity(uid=1234, gid=4321))
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in new.rglob("*")}
    assert owners == {(1234, 4321)}


def link_to_file(place: Path, secret: Path) -> None:
    place.symlink_to(secret)


def link_to_folder(place: Path, secret: Path) -> None:
    place.symlink_to(secret.parent)


def dangling_link(place: Path, _: Path) -> None:
    place.symlink_to("/nowhere/at/all")


def link_to_itself(place: Path, _: Path) -> None:
    place.symlink_to(place)


def pipe(place: Path, _: Path) -> None:
    os.mkfifo(place)


def listening_socket(place: Path, _: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{folder}/{place.name}")
        finally:
            os.close(folder)


Trap = Callable[[Path, Path], None]
TRAPS: list[Trap] = [link_to_file, link_to_folder, dangling_link, link_to_itself, pipe, listening_socket]
PLACES = [".agent", ".agent/projects", SESSION, EXTRAS, f"{EXTRAS}/inner"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_a_trap_at_any_place_copies_nothing_from_outside(
    tmp_path: Path, new: Path, trap: Trap, place: str
) -> None:
    secret = write(tmp_path / "secrets" / "s.jsonl", b"secret")
    write(tmp_path / "secrets" / "projects" / "s.jsonl", b"secret")
    home = tmp_path / "old"
    (home / place).parent.mkdir(parents=True)
    trap(home / place, secret)
    beside_the_session = place in (EXTRAS, f"{EXTRAS}/inner")
    if beside_the_session:
        write(home / SESSION, b"turns")
    carry_session(home, new, FILES, ME)
    assert carried(new) == ({SESSION: b"turns"} if beside_the_session else {})
    assert has_session(home, FILES) == beside_the_session


EXISTS = {
    "a file": (lambda path: write(path, b"x"), True),
    "an empty file": (lambda path: write(path, b""), False),
    "a folder": (lambda path: path.mkdir(parents=True), False),
    "nothing": (lambda path: None, False),
}


@pytest.mark.parametrize(("make", "expected"), EXISTS.values(), ids=EXISTS)
def test_a_session_exists_as_a_file_with_something_in_it(
    tmp_path: Path, make: Callable[[Path], object], expected: bool
) -> None:
    make(tmp_path / "home" / SESSION)
    assert has_session(tmp_path / "home", FILES) == expected


def test_an_agent_without_session_files_has_no_session(old: Path, new: Path) -> None:
    assert not has_session(old, ())
    carry_session(old, new, (), ME)
    assert carried(new) == {}


def test_a_missing_home_copies_nothing(tmp_path: Path, new: Path) -> None:
    carry_session(tmp_path / "gone", new, FILES, ME)
    assert carried(new) == {}


def test_folders_below_the_depth_limit_are_left_out(old: Path, new: Path) -> None:
    deep = old / EXTRAS
    for level in range(MAX_DEPTH + 20):
        write(deep / f"file{level}")
        deep = deep / "d"
    carry_session(old, new, FILES, ME)
    assert max(len(Path(path).parts) for path in carried(new)) <= len(Path(EXTRAS).parts) + MAX_DEPTH + 1
    assert f"{EXTRAS}/file0" in carried(new)


def test_files_over_the_size_limit_are_left_out(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_BYTES", 1000)
    with (old / SESSION).open("wb") as sparse:
        sparse.truncate(10**12)
    write(old / EXTRAS / "a", b"x" * 600)
    write(old / EXTRAS / "b", b"x" * 600)
    carry_session(old, new, FILES, ME)
    assert len(carried(new)) == 1 and sum(map(len, carried(new).values())) == 600


@pytest.mark.parametrize("folders", [False, True], ids=["files", "folders"])
def test_entries_over_the_number_limit_are_left_out(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch, folders: bool
) -> None:
    monkeypatch.setattr(sessions, "MAX_ENTRIES", 20)
    for number in range(50):
        path = old / EXTRAS / str(number)
        path.mkdir(parents=True) if folders else write(path)
    carry_session(old, new, FILES, ME)
    assert len(list(new.rglob("*"))) <= 20 + len(Path(SESSION).parts)


def test_names_that_are_not_utf_8_are_copied(old: Path, new: Path) -> None:
    write(Path(os.fsdecode(os.fsencode(old / EXTRAS) + b"/\xff\xfe")))
    carry_session(old, new, FILES, ME)
    assert (new / EXTRAS / os.fsdecode(b"\xff\xfe")).is_file()
