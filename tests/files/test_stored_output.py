"""Stored output is compressed without ever being lost, and a damaged file does no harm to its reader."""

import os
import signal
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import stored_output
from orchestrator.stored_output import DamagedOutput, compress_file, open_stored, skip_bytes

CONTENT = "".join(f"line {number} says something\n" for number in range(5000)).encode() + b"no newline\xff"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "stdout"
    path.write_bytes(CONTENT)
    return path


def packed(path: Path) -> Path:
    return path.with_name("stdout.gz")


def content(path: Path) -> bytes:
    with open_stored(path) as file:
        return file.read()


def test_a_compressed_file_reads_as_before(file: Path) -> None:
    freed = compress_file(file)
    assert not file.exists() and freed == len(CONTENT) - packed(file).stat().st_size > len(CONTENT) // 2
    assert packed(file).stat().st_mode & 0o777 == 0o600
    assert content(file) == CONTENT
    with open_stored(file) as opened:
        assert list(opened) == CONTENT.splitlines(keepends=True)
    with open_stored(file) as opened:
        skip_bytes(opened, 100_001)
        assert opened.read() == CONTENT[100_001:]
    assert compress_file(file) == 0


def test_a_file_of_one_block_and_a_missing_one_stay(file: Path) -> None:
    file.write_bytes(b"x" * 4096)
    assert compress_file(file) == 0 and file.exists() and not packed(file).exists()
    file.unlink()
    assert compress_file(file) == 0
    with pytest.raises(FileNotFoundError):
        open_stored(file)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "incomplete": lambda data: data[:-9],
    "empty": lambda data: b"",
    "changed": lambda data: data[:900] + bytes(byte ^ 0xFF for byte in data[900:950]) + data[950:],
    "another checksum": lambda data: data[:-8] + bytes(4) + data[-4:],
    "another file": lambda data: b"no gzip at all" * 100,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_reported(file: Path, damage: Callable[[bytes], bytes]) -> None:
    compress_file(file)
    packed(file).write_bytes(damage(packed(file).read_bytes()))
    with pytest.raises(DamagedOutput, match="the compressed data are"):
        content(file)


def test_a_file_that_unpacks_without_end_is_read_piece_by_piece_and_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.unlink()
    packer = zlib.compressobj(9, wbits=31)
    packed(file).write_bytes(packer.compress(bytes(200_000_000)) + packer.flush())
    assert packed(file).stat().st_size < 250_000
    with open_stored(file) as opened:
        assert opened.read(1000) == bytes(1000)
    monkeypatch.setattr(stored_output, "MOST_BYTES", 1_000_000)
    with open_stored(file) as opened, pytest.raises(DamagedOutput, match="more than 1000000 bytes"):
        while opened.read(100_000):
            pass


@pytest.mark.parametrize("kind", ["a link", "a pipe"])
def test_what_replaced_a_compressed_file_is_not_followed(file: Path, kind: str) -> None:
    compress_file(file)
    packed(file).unlink()
    if kind == "a link":
        packed(file).symlink_to("/etc/passwd")
    else:
        os.mkfifo(packed(file))
    with pytest.raises(OSError, match=r"symbolic|regular"):
        open_stored(file)


def test_where_both_exist_the_next_compression_makes_it_one(file: Path) -> None:
    packed(file).write_bytes(b"older")
    assert content(file) == CONTENT
    compress_file(file)
    assert not file.exists() and content(file) == CONTENT


def test_a_kill_leaves_one_of_the_two(tmp_path: Path) -> None:
    """At many moments; the last one is after the end."""
    whole = CONTENT * 20
    for step in range(20):
        path = tmp_path / f"{step}" / "stdout"
        path.parent.mkdir()
        path.write_bytes(whole)
        child = os.fork()
        if child == 0:
            compress_file(path)
            os._exit(0)
        time.sleep(0.004 * step)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert content(path) == whole
        compress_file(path)
        assert content(path) == whole and not path.exists()
