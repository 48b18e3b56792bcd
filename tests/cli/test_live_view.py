"""The live view at a terminal: what is on the screen, and that the terminal is as before afterwards."""

import asyncio
import os
import pty
import select
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_kit import environment, remember
from emulator import ROWS, Screen
from run_histories import (
    READY,
    RUN,
    Entry,
    answered,
    asked,
    attempt,
    begun,
    ended,
    finished,
    numbered,
    run_ended,
    task_started,
)

from orchestrator.cli.live_view import HOW_TO_ANSWER, LiveView
from orchestrator.cli.terminal import Keyboard, has_utf8, is_simple, wants_colour
from orchestrator.clock import SystemClock
from orchestrator.project.locks import RunLock
from orchestrator.project.run_folder import RunFolder
from orchestrator.run.facts import AgentText, AgentTool, Notice, RunWaiting, StillRunning
from orchestrator.run.state import QuestionState

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Keys(Keyboard):
    """A keyboard in memory."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.has_echo = True

    def silence(self) -> None:
        self.has_echo = False

    def restore(self) -> None:
        self.has_echo = True

    def forget_typed(self) -> None:
        pass


def live(screen: Screen, **options: object) -> LiveView:
    view = LiveView(screen, SystemClock(), view_of=lambda run: None, hint="^C stops", **options)  # type: ignore[arg-type]
    view._enter()
    return view


def show(view: LiveView, *entries: Entry, first: int = 1) -> None:
    for fact in numbered(entries, first=first):
        view(fact)
    view.draw()


def says(text: str) -> Entry:
    return Entry(AgentText(text=text), "1", 1)


def test_finished_lines_are_above_the_block_and_stay_when_it_is_gone() -> None:
    screen = Screen()
    view = live(screen)
    show(view, *READY, attempt())
    show(view, says("one"), says("two"), first=6)
    *above, head, tasks, now, first, second, hint = screen.rows
    assert [line[10:].split()[0] for line in above] == [
        *("run", "branch", "started", "branch", "task", "attempt", "says", "says")
    ]
    assert head.startswith("── run trial-1, 0 of 1 tasks done") and tasks == "tasks   ▶ 1"
    assert "now     attempt 1/1" in now and hint == "^C stops"
    assert (first, second) == ("  says  one", "  says  two")
    assert screen.screen.cursor.hidden
    view.leave()
    assert screen.rows == above and not screen.screen.cursor.hidden


def test_the_number_of_attempts_is_that_of_the_stored_settings() -> None:
    screen = Screen()
    view = live(screen, limit_of=lambda state: 5)
    show(view, *READY, attempt())
    assert any(row.startswith("now     attempt 1/1 (1 of 5), ") for row in screen.rows)


def test_only_a_change_is_drawn() -> None:
    screen = Screen()
    view = live(screen)
    show(view, *READY)
    before = len(screen.written)
    for _ in range(5):
        view.draw()
    assert len(screen.written) - before <= 1  # a second may have passed


def test_lines_from_elsewhere_do_not_end_up_in_the_block() -> None:
    screen = Screen()
    view = live(screen)
    show(view, *READY)
    view.say("a warning")
    view.draw()
    at = screen.rows.index("a warning")
    assert screen.rows[at + 1].startswith("── run")


def test_a_line_is_never_wrapped_by_the_terminal() -> None:
    screen = Screen(columns=24, rows=12)
    view = live(screen)
    show(view, *READY, Entry(Notice(text="a note of many words " * 5)), attempt(), says("x" * 500))
    view.draw()
    # pyte moves the cursor to the next row by itself when a row is full; then rows would be of full width.
    text = "".join(screen.written)
    assert all(len(row) <= 24 for row in screen.screen.display)
    assert "x" * 30 not in text


def test_a_resized_screen_gets_a_new_block() -> None:
    screen = Screen()
    view = live(screen)
    show(view, *READY, attempt())
    screen.screen.resize(ROWS, 100)
    view.draw()
    assert sum(row.startswith("── run") for row in screen.rows) == 1


HOSTILE = [
    "\x1b]0;title\x07",
    "\x1b]52;c;cm0=\x07",
    "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
    "\x1bP1$tq\x1b\\",
    "\x9b31m\x90x\x9c\x9d0;y\x9c",
    "\x1b[?1049h\x1b[2J\x1b[H\x1b[?25h\x1b[31m",
    "half of \x1b[3",
    "1m the rest",
    "[bold red]markup[/] :smile: \u202eabc\u202c \U000e0041\U000e007f 👩\u200d👩\u200d👧",
    "x" * 1_000_000,
    "10%\r20%\r100%",
]


def test_nothing_that_an_agent_prints_is_interpreted() -> None:
    screen = Screen()
    view = live(screen)
    show(view, *READY, attempt())
    modes, title = set(screen.screen.mode), screen.screen.title
    entries = [entry for text in HOSTILE for entry in (says(text), does(text), still(text))]
    for n, entry in enumerate(entries):
        show(view, entry, first=6 + n)
        assert set(screen.screen.mode) == modes and screen.screen.title == title == ""
        assert len(view._block) <= 12 and screen.screen.cursor.hidden
    text = "".join(screen.written)
    assert "[bold red]markup[/] :smile:" in text and "title" not in text and "cm0" not in text
    allowed = text
    for code in (HIDE, SHOW, "\x1b[2K", "\x1b[1A", "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[33m"):
        allowed = allowed.replace(code, "")
    assert "\x1b" not in allowed, allowed[allowed.index("\x1b") :][:20]


def does(text: str) -> Entry:
    return Entry(AgentTool(name=text[:50], summary=text), "1", 1)


def still(text: str) -> Entry:
    return Entry(StillRunning(what="verify-1", seconds=1, text=text), "1", 1)


WAITING = Entry(RunWaiting(cause="question", reason="task 1 asks", until=None))
ASKED = (*READY, attempt(), ended("needs_human"), asked(), WAITING)


class Asked:
    """A view with a question, and what the user's answers have led to."""

    def __init__(self, *entries: Entry) -> None:
        self.answers: list[str] = []
        self.is_left = False
        self.keys, self.screen = Keys(), Screen()

        async def answer(run: str, question: QuestionState, typed: str) -> None:
            self.answers.append(f"{run} {question.asked.question} {typed}")

        def leave() -> None:
            self.is_left = True

        self.view = live(self.screen, keyboard=self.keys, answer=answer, leave_open=leave)
        show(self.view, *entries)

    async def type(self, line: str | None) -> None:
        """The terminal itself shows what is typed."""
        if line is not None and self.keys.has_echo:
            self.screen.stream.feed(f"{line}\n")
        self.keys.read_line = lambda: line  # type: ignore[method-assign]
        self.view._take_line()
        await asyncio.sleep(0)
        self.view.draw()


async def test_a_typed_line_answers_the_question() -> None:
    there = Asked(*ASKED)
    assert there.screen.rows[-5:] == [
        "asks    task 1: Which?",
        "        1. a (recommended)",
        "        2. b",
        HOW_TO_ANSWER,
        "answer>",
    ]
    assert there.keys.has_echo and not there.screen.screen.cursor.hidden
    await there.type("keys, please")
    assert there.answers == ["trial-1 q1 keys, please"] and not there.keys.has_echo
    show(there.view, answered(text="keys"), first=9)
    assert there.screen.rows[-4].startswith("── run") and there.screen.screen.cursor.hidden
    assert "answer>" not in "".join(there.screen.rows)


async def test_an_empty_line_leaves_the_question_open() -> None:
    there = Asked(*ASKED)
    await there.type("")
    assert there.is_left and there.answers == [] and not there.keys.has_echo
    assert "answer>" not in there.screen.rows[-1]


async def test_a_question_is_withdrawn_when_it_is_answered_elsewhere() -> None:
    there = Asked(*ASKED)
    before = list(there.screen.written)
    there.view.draw()
    assert there.screen.written == before  # nothing is drawn into the line that is typed
    show(there.view, answered(text="keys"), first=9)
    assert not there.keys.has_echo and there.screen.screen.cursor.hidden
    assert "answer>" not in "".join(there.screen.rows)
    await there.type("too late")
    assert there.answers == []


async def test_while_other_tasks_work_enter_asks_for_the_answer() -> None:
    there = Asked(begun("1", "2"), *READY[1:], attempt(), ended("needs_human"), asked(), task_started("2"))
    show(there.view, attempt(1, "2"), first=8)
    assert there.screen.rows[-1] == "Enter: answer the question" and not there.keys.has_echo
    await there.type("")
    assert there.screen.rows[-1] == "answer>" and there.keys.has_echo
    await there.type("2")
    assert there.answers == ["trial-1 q1 2"]


def test_leaving_while_a_line_is_typed_restores_the_terminal() -> None:
    there = Asked(*ASKED)
    there.view.leave()
    assert there.keys.has_echo and not there.screen.screen.cursor.hidden
    assert "answer>" not in "".join(there.screen.rows)


async def test_an_error_in_a_drawing_ends_the_drawing_only() -> None:
    screen = Screen()
    view = LiveView(screen, SystemClock(), view_of=lambda run: None)
    async with view:
        view.draw = lambda: 1 / 0  # type: ignore[assignment, method-assign]
        for fact in numbered(READY):
            view(fact)
        await asyncio.sleep(0.3)
        assert view._live is None and not screen.screen.cursor.hidden
    assert any("task    1" in row for row in screen.rows)


# At a real terminal


@contextmanager
def watching(cwd: Path, *words: str, **extra: str) -> Iterator[tuple[int, int]]:
    """`watch` with a terminal of its own."""
    argv = [sys.executable, "-m", "orchestrator.cli.main", "watch", *words]
    with at_terminal(cwd, *argv, **extra) as there:
        yield there


@contextmanager
def at_terminal(cwd: Path, *argv: str, **extra: str) -> Iterator[tuple[int, int]]:
    """A program with a terminal of its own: its process id and our side of the terminal."""
    environ = environment(**{"TERM": "xterm", **extra})
    pid, ours = pty.fork()
    if pid == 0:
        try:
            os.chdir(cwd)
            os.execvpe(argv[0], argv, environ)
        finally:
            os._exit(127)
    try:
        termios.tcsetwinsize(ours, (24, 80))
        yield pid, ours
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(ours)


def read_until(ours: int, is_met: Callable[[str], bool]) -> str:
    seen = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not is_met(seen.decode(errors="replace")):
        if select.select([ours], [], [], 0.1)[0]:
            try:
                seen += os.read(ours, 65_536)
            except OSError:  # the command has ended
                break
    return seen.decode(errors="replace")


@contextmanager
def owned(entries: Iterable[Entry]) -> Iterator[None]:
    lock = RunLock.take(RunFolder(root=remember(entries)).lock, SystemClock())
    assert lock is not None
    try:
        yield
    finally:
        lock.release()


def has_echo(ours: int) -> bool:
    return bool(termios.tcgetattr(ours)[3] & termios.ECHO)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGHUP, 130)], ids=str
)
def test_a_signal_leaves_the_terminal_as_it_was(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with owned((*READY, attempt(), says("hello"))), watching(tmp_path, RUN) as (pid, ours):
        shown = read_until(ours, lambda seen: "^C ends" in seen)
        assert HIDE in shown and not has_echo(ours)
        os.kill(pid, number)
        shown += read_until(ours, lambda seen: "is still running" in seen)
        assert shown.rindex(SHOW) > shown.rindex(HIDE)
        assert has_echo(ours)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code


def test_stopped_by_the_shell_and_continued(tmp_path: Path) -> None:
    """^Z gives a shell with jobs the terminal with its echo and cursor; `fg` shows the block again."""
    report = "stty -a | grep -q ' echo ' && echo it has an echo\n"
    shell = ("bash", "--norc", "--noediting", "-i")
    with owned((*READY, attempt(), says("hello"))), at_terminal(tmp_path, *shell) as (_, ours):
        os.write(ours, f"{sys.executable} -m orchestrator.cli.main watch {RUN}\n".encode())
        read_until(ours, lambda seen: "^C ends" in seen)
        os.write(ours, b"\x1a")
        assert SHOW in read_until(ours, lambda seen: "Stopped" in seen)
        os.write(ours, report.encode())
        read_until(ours, lambda seen: "\nit has an echo" in seen)
        os.write(ours, b"fg\n")
        assert HIDE in read_until(ours, lambda seen: "^C ends" in seen)
        os.write(ours, b"\x03")
        assert SHOW in read_until(ours, lambda seen: "is still running" in seen)


DONE = (*READY, attempt(), says("hello"), ended("completed"), finished(), run_ended("completed", 0))


def test_a_run_that_has_ended_leaves_its_lines_and_the_table(tmp_path: Path) -> None:
    remember(DONE)
    with watching(tmp_path, RUN) as (pid, ours):
        shown = read_until(ours, lambda seen: False)
        assert "next: " in shown.splitlines()[-1] and os.waitpid(pid, 0)[1] == 0
    assert shown.count(HIDE) == shown.count(SHOW) == 1


@pytest.mark.parametrize(
    ("words", "extra", "has_codes"),
    [
        ((), {"TERM": "dumb"}, False),
        (("--plain",), {"NO_COLOR": "1"}, False),
        (("--plain",), {}, True),
    ],
    ids=["a simple terminal", "without colour", "plain lines have colours"],
)
def test_plain_lines(tmp_path: Path, words: tuple[str, ...], extra: dict[str, str], has_codes: bool) -> None:
    remember(DONE)
    with watching(tmp_path, RUN, *words, **extra) as (_, ours):
        shown = read_until(ours, lambda seen: False)
    assert HIDE not in shown and ("\x1b[" in shown) == has_codes and "says  hello" in shown


def test_a_terminal_without_utf8_gets_ascii(tmp_path: Path) -> None:
    remember(DONE)
    with watching(tmp_path, RUN, LC_ALL="C") as (_, ours):
        shown = read_until(ours, lambda seen: False)
    assert shown.isascii() and "----" in shown


class Stream:
    def __init__(self, *, is_terminal: bool) -> None:
        self.isatty = lambda: is_terminal


@pytest.mark.parametrize(
    ("environ", "at_terminal", "elsewhere"),
    [
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "0", "TERM": "xterm"}, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_when_lines_are_coloured(environ: dict[str, str], at_terminal: bool, elsewhere: bool) -> None:
    assert wants_colour(environ, Stream(is_terminal=True)) == at_terminal  # type: ignore[arg-type]
    assert wants_colour(environ, Stream(is_terminal=False)) == elsewhere  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LANG": "en_GB.UTF-8"}, True),
        ({"LC_ALL": "C.utf8"}, True),
        ({"LC_ALL": "C", "LANG": "en_GB.UTF-8"}, False),
        ({"LC_CTYPE": "de_DE.UTF-8"}, True),
        # Python sets LC_CTYPE by itself in the locale C.
        ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, False),
        ({"LC_CTYPE": "C.UTF-8"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({}, False),
    ],
)
def test_when_a_terminal_has_utf8(environ: dict[str, str], expected: bool) -> None:
    assert has_utf8(environ) == expected


def test_nothing_is_known_of_a_terminal_without_a_name() -> None:
    assert is_simple({}) and is_simple({"TERM": "dumb"}) and not is_simple({"TERM": "xterm-256color"})
