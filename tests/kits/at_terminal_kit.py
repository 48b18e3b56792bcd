"""The command at a terminal: a pseudo-terminal that types what a user would."""

import os
import pty
import select
import subprocess  # noqa: TID251 - the command gets a terminal of its own
import time
from pathlib import Path

from e2e_kit import PATIENCE, Done, Scene


def at_terminal(scene: Scene, *words: str, typed: dict[str, str], cwd: Path | None = None) -> Done:
    """Type each answer when its prompt appears, and give what was on the screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*scene.caller.program, *words],
        cwd=cwd or scene.folder,
        env=scene.environment({"TERM": "dumb"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        screen = _conversation(ours, dict(typed))
        return Done(exit_code=process.wait(timeout=PATIENCE), stdout=screen, stderr=b"")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _conversation(terminal: int, typed: dict[str, str]) -> bytes:
    screen, answered = b"", 0
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            read = os.read(terminal, 65_536)
        except OSError:  # the other end was closed: Linux says so by an error
            return screen
        if not read:
            return screen
        screen += read
        for prompt in list(typed):
            if prompt.encode() in screen[answered:]:
                answered = len(screen)
                os.write(terminal, typed.pop(prompt).encode())
    raise AssertionError(f"it did not end:\n{screen.decode(errors='replace')}")
