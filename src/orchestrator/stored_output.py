"""Output that is compressed once nothing is appended to it any more, and read as if it were not.

`compress_file` replaces `NAME` by `NAME.gz`. The new file is whole and on the disk before the old one is
removed, so a kill at any moment leaves one of the two or both, with the same content. Readers take the file
that is not compressed where both exist. They open it first: while it is being replaced, one of the two is
always there.

The bytes are an agent's, and the file may be damaged. So a reader unpacks only as much as it is asked for,
never more than `MOST_BYTES` of one file, and reports data that are incomplete or do not match their checksum.
"""

import errno
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from orchestrator.files import open_regular, sync_folder, write_pieces_atomically

SUFFIX = ".gz"
LEAST_BYTES = 4096
"""A file of one block of the disk gains nothing."""
MOST_BYTES = 16 * 1024**3
"""A larger file stays as it is, and no more than this is unpacked. An attempt may print 1 GB by default."""
_PIECE_BYTES = 1 << 18
_LEVEL = 3
"""Text becomes a fifth at some 90 MB/s; level 6 is a third slower for a sixth of what is left."""
_GZIP = 31
"""zlib's number for its largest window with the header and the checksum of gzip."""


class DamagedOutput(OSError):
    """A compressed file that is incomplete, was changed, or unpacks to more than was ever stored."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(errno.EIO, what, str(path))


def open_stored(path: Path) -> BinaryIO:
    """Open a stored file by the name that it has uncompressed. Raises OSError as `open_regular` does.

    Reading raises DamagedOutput. Only a file that is not compressed can be sought.
    """
    try:
        return cast(BinaryIO, open_regular(path))
    except FileNotFoundError:
        packed = _name_compressed(path)
        return cast(BinaryIO, io.BufferedReader(_Unpacker(open_regular(packed), packed), _PIECE_BYTES))


def skip_bytes(file: BinaryIO, count: int) -> None:
    """Continue to read a file of `open_stored`, which was just opened, after its first `count` bytes."""
    if file.seekable():
        file.seek(count)
        return
    while count > 0 and (piece := file.read(min(count, _PIECE_BYTES))):
        count -= len(piece)


def measure_compressible(path: Path) -> int:
    """The size of a file that `compress_file` would compress, else 0."""
    try:
        size = path.lstat().st_size
    except OSError:
        return 0
    return size if LEAST_BYTES < size <= MOST_BYTES else 0


def compress_file(path: Path) -> int:
    """Compress a file to which nothing is appended any more, and return how many bytes that has freed.

    Raises OSError where it cannot be read or written, for example on a full disk; the file stays then.
    """
    if not measure_compressible(path):
        return 0
    packed = _name_compressed(path)
    with open_regular(path) as file:
        write_pieces_atomically(packed, _pack(file))
        before = os.fstat(file.fileno()).st_size
    # The name of the new file has to be on the disk before that of the old one is gone, or a power failure
    # could take both.
    sync_folder(path.parent)
    path.unlink()
    return before - packed.lstat().st_size


def _name_compressed(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _pack(file: BinaryIO) -> Iterator[bytes]:
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP)
    while piece := file.read(_PIECE_BYTES):
        yield packer.compress(piece)
    yield packer.flush()


class _Unpacker(io.RawIOBase):
    """The content of a compressed file, unpacked as far as it is read."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._unpacker = zlib.decompressobj(wbits=_GZIP)
        self._room = MOST_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = b""
        while not data and not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._file.read(_PIECE_BYTES)
            try:
                data = self._unpacker.decompress(packed, len(buffer))
            except zlib.error as error:
                raise DamagedOutput(self._path, "the compressed data are damaged") from error
            if not packed and not data:
                raise DamagedOutput(self._path, "the compressed data are incomplete")
        self._room -= len(data)
        if self._room < 0:
            raise DamagedOutput(self._path, f"it unpacks to more than {MOST_BYTES} bytes")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
