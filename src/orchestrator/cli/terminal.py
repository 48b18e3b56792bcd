"""The terminal of a command: what it can show, its modes, and the one writer to it."""

import codecs
import os
import select
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO

ASCII_SIGNS: Mapping[str, str] = {
    **{"─": "-", "…": "~", "·": "-", "✓": "+", "✗": "x", "▶": ">"},
    **{"’": "'", "“": '"', "”": '"', "–": "-", "—": "-"},
}
"""Each of our own signs, and one character of the same width for a terminal without UTF-8."""
_SIMPLE = ("", "dumb", "unknown")
"""Values of TERM by which a terminal cannot move its cursor, or nothing is known of it."""


def is_simple(environ: Mapping[str, str]) -> bool:
    """Whether the terminal may be unable to do more than to print one line after the other."""
    return environ.get("TERM", "") in _SIMPLE


def wants_colour(environ: Mapping[str, str], stream: TextIO) -> bool:
    """Whether to colour lines: at a terminal, unless NO_COLOR is set; elsewhere if FORCE_COLOR is."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return environ["FORCE_COLOR"] not in ("0", "false")
    return stream.isatty() and not is_simple(environ)


def has_utf8(environ: Mapping[str, str]) -> bool:
    """Whether the locale is one of UTF-8.

    Python itself uses UTF-8 in the locale C. When the locale has been chosen by LANG alone, it also sets
    LC_CTYPE, so that this variable says nothing about the terminal then.
    """
    chosen = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or "C"
    language = environ.get("LANG") or "C"
    if not environ.get("LC_ALL") and chosen in ("C.UTF-8", "C.utf8", "UTF-8") and language in ("C", "POSIX"):
        return False
    return "utf-8" in chosen.lower() or "utf8" in chosen.lower()


def _replace_signs(error: UnicodeError) -> tuple[str, int]:
    """A codec's error handler: our own signs in ASCII, everything else as an escape."""
    assert isinstance(error, UnicodeEncodeError)
    escaped = (
        ASCII_SIGNS.get(character) or character.encode("ascii", "backslashreplace").decode()
        for character in error.object[error.start : error.end]
    )
    return "".join(escaped), error.end


codecs.register_error("orchestrator-signs", _replace_signs)


class TerminalWriter:
    """Writes to a terminal, as a text file that Rich can use; a terminal that has gone is not an error.

    Text is kept until `flush`, so that a whole draw is one write and does not flicker.
    """

    def __init__(self, stream: TextIO) -> None:
        stream.flush()
        self._descriptor = stream.fileno()
        self.encoding = stream.encoding
        self._errors = stream.errors or "backslashreplace"
        self._kept: list[str] = []
        self._has_reader = True

    def write(self, text: str) -> int:
        self._kept.append(text)
        return len(text)

    def flush(self) -> None:
        data = "".join(self._kept).encode(self.encoding, self._errors)
        self._kept.clear()
        try:
            while data and self._has_reader:
                data = data[self._write(data) :]
        except OSError:
            self._has_reader = False

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # another program has made the terminal non-blocking
            select.select([], [self._descriptor], [], 1.0)
            return 0

    def size(self) -> tuple[int, int]:
        """Columns and rows at this moment."""
        try:
            size = os.get_terminal_size(self._descriptor)
        except OSError:
            return 80, 24
        return (size.columns or 80), (size.lines or 24)

    def is_in_foreground(self) -> bool:
        """Whether the terminal belongs to this command now, and not to another job of its shell."""
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            return False


class Keyboard:
    """The input side of the terminal. It stays in its line mode; only the echo is switched.

    Without an echo, keys that are pressed while the block is drawn do not end up in it.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._before: list[Any] | None = None

    @staticmethod
    def find() -> "Keyboard | None":
        """Standard input, if it is a terminal."""
        try:
            return Keyboard(sys.stdin.fileno()) if sys.stdin.isatty() else None
        except (AttributeError, OSError, ValueError):  # closed by the caller: <&-
            return None

    def silence(self) -> None:
        """Switch the echo off, and remember the modes for `restore`."""
        with suppress(termios.error):
            modes = termios.tcgetattr(self.descriptor)
            if self._before is None:
                self._before = [*modes]
            modes[3] &= ~termios.ECHO
            termios.tcsetattr(self.descriptor, termios.TCSANOW, modes)

    def restore(self) -> None:
        """The modes from before the first `silence`."""
        if self._before is not None:
            with suppress(termios.error):
                termios.tcsetattr(self.descriptor, termios.TCSANOW, self._before)
            self._before = None

    def forget_typed(self) -> None:
        """Drop what has been typed before there was a question."""
        with suppress(termios.error):
            termios.tcflush(self.descriptor, termios.TCIFLUSH)

    def read_line(self) -> str | None:
        """The line that was typed; None after ^D, or when the terminal has gone."""
        try:
            read = os.read(self.descriptor, 65_536)
        except OSError:
            return None
        return read.decode("utf-8", "replace").rstrip("\r\n") if read else None
