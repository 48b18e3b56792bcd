"""A real run at a real terminal: the block, a question that is answered by typing, and the end."""

import os
import pty
import select
import termios
import time
from collections.abc import Callable

import pyte
import pytest
from e2e_kit import PATIENCE, Scene, plan, task

pytestmark = pytest.mark.docker

AGENT = """\
report() { printf '%s' "$1" > "$ORCHESTRATOR_OUTCOME"; }
echo 'I read the plan.'
sleep 1
if [ ! -e asked ]; then
    touch asked
    report '{"status": "needs_human", "question": "Which colour?", "options": ["red", "blue"]}'
else
    touch made.txt
    report '{"status": "completed", "summary": "Done."}'
fi
"""


class Terminal:
    """A command with a terminal of its own, of 80 x 24, and an emulator that shows its screen."""

    def __init__(self, scene: Scene, *words: str) -> None:
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        environ = scene.environment({"TERM": "xterm"})
        self._pid, self._ours = pty.fork()
        if self._pid == 0:
            try:
                os.chdir(scene.folder)
                os.execvpe(scene.caller.program[0], [*scene.caller.program, *words], environ)
            finally:
                os._exit(127)
        termios.tcsetwinsize(self._ours, (24, 80))

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self.screen.display if row.strip()]

    def wait_for(self, is_shown: Callable[[list[str]], bool]) -> None:
        """Read until the screen is like this, or the command has ended."""
        deadline = time.monotonic() + PATIENCE
        while not is_shown(self.rows):
            assert time.monotonic() < deadline, self.rows
            if select.select([self._ours], [], [], 0.2)[0]:
                try:
                    self._stream.feed(os.read(self._ours, 65_536))
                except OSError:
                    return

    def type(self, line: str) -> None:
        os.write(self._ours, f"{line}\n".encode())

    def has_echo(self) -> bool:
        return bool(termios.tcgetattr(self._ours)[3] & termios.ECHO)

    def wait(self) -> int:
        self.wait_for(lambda rows: False)
        os.close(self._ours)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def test_a_run_at_a_terminal_asks_there_and_continues(scene: Scene) -> None:
    scene.write("agent.sh", AGENT)
    scene.commit(plan__md=plan(task("1", "test -e made.txt")))
    there = Terminal(scene, "run", "plan.md", "--agent-command", "bash agent.sh")
    there.wait_for(lambda rows: "answer>" in rows and not there.screen.cursor.hidden)
    at = there.rows.index("tasks   ? 1")
    assert there.rows[at + 1 :] == [
        "asks    task 1: Which colour?",
        "        1. red",
        "        2. blue",
        "a number or a text; Enter alone leaves it open",
        "answer>",
    ]
    assert there.has_echo()
    there.type("2")
    there.wait_for(lambda rows: any(row.endswith("answer  blue (by answer)") for row in rows))
    assert there.screen.cursor.hidden and not there.has_echo()
    assert there.wait() == 0
    assert there.rows[-1].startswith("next: git diff ") and not there.screen.cursor.hidden
    assert not any(row.startswith(("tasks ", "now ", "answer>")) for row in there.rows)
    assert scene.git("show", "work:made.txt") == ""
