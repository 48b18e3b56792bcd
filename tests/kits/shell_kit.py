"""A shell at a pseudo-terminal that has the completion script, and a user who presses the tab key."""

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess  # noqa: TID251 - the shell gets a terminal of its own
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest

_START: Mapping[str, list[str]] = {
    "bash": ["bash", "--noprofile", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
_SETTING_UP: Mapping[str, str] = {
    "bash": "PS1='%> '; source {script}; bind 'set show-all-if-ambiguous on'",
    "zsh": "PROMPT='%%> '; unsetopt prompt_sp; autoload -Uz compinit; compinit -u -D; source {script}",
    "fish": "function fish_prompt; printf '%%> '; end; source {script}",
}
_ESCAPES = re.compile(
    rb"\x1b\[[0-9;?=>]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>78]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)"
)
PROMPT = b"%> "
QUOTED = b"'%> '"
"""The prompt, where the command that sets it is echoed."""
QUIET = 3.0
"""Seconds without output after which nothing more is expected."""
PATIENCE = 40.0


def require_shell(shell: str) -> None:
    """Skip without the shell; in CI its absence is a failure."""
    if shutil.which(shell) is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{shell} is not installed")


def press_tab(
    shell: str, script: Path, typed: str, expected: str | None, *, cwd: Path, environ: Mapping[str, str]
) -> str:
    """The screen after the user has typed these words and pressed the tab key.

    It is given as soon as it has the expected text, else when nothing more comes.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 160, 0, 0))
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *_START[shell]],
        cwd=cwd,
        env={**environ, "TERM": "xterm", "INPUTRC": "/dev/null"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        _read(ours, b"", 1.0)
        os.write(ours, (_SETTING_UP[shell].format(script=script) + "\n").encode())
        _read(ours, PROMPT, PATIENCE)
        wanted, patience = (b"", QUIET) if expected is None else (expected.encode(), PATIENCE)
        os.write(ours, f"{typed}\t".encode())
        seen = _read(ours, wanted, QUIET)
        if not wanted or wanted not in seen:
            os.write(ours, b"\t")
            seen += _read(ours, wanted, patience)
        return _plain(seen)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read(terminal: int, wanted: bytes, quiet: float) -> bytes:
    """Everything until the wanted bytes have come, or nothing has for some time."""
    seen = b""
    while select.select([terminal], [], [], quiet)[0]:
        seen += os.read(terminal, 65_536)
        if b"\x1b[c" in seen[-40:]:
            os.write(terminal, b"\x1b[?1;2c")
        if wanted and wanted in _ESCAPES.sub(b"", seen).replace(QUOTED, b""):
            break
    return seen


def _plain(screen: bytes) -> str:
    return _ESCAPES.sub(b"", screen).decode(errors="replace")
