"""The live view of a run at a terminal: finished lines scroll up, and below them is the block.

Rich draws both, with its `Live` but without its thread and without its replacement of the standard streams: a
task of the event loop draws, at most ten times a second, and only when something has changed. Everything that
is shown meanwhile goes through `LiveView`, so that no other line ends up inside the block.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from orchestrator.cli.block import Preparation, Screen, draw_block
from orchestrator.cli.fact_lines import lines
from orchestrator.cli.screen import Row, fold, shorten_end, width
from orchestrator.cli.terminal import Keyboard, TerminalWriter
from orchestrator.cli.times import Zone, clock_time
from orchestrator.cli.tones import Tone, tone_of
from orchestrator.clock import Clock
from orchestrator.errors import OrchestratorError
from orchestrator.run.facts import AttemptStarted, Fact, RunStarted
from orchestrator.run.state import QuestionState, RunState
from orchestrator.run.view import RunView, follow
from orchestrator.text import one_line, plain, utc_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

DRAW_SECONDS = 0.1
TICK_SECONDS = 1.0
"""Durations in the block are in whole seconds."""
PROMPT = "answer> "
HOW_TO_ANSWER = "a number or a text; Enter alone leaves it open"
_TIME = 10
"""The width of the time in front of a line."""
_STYLES: dict[Tone, str] = {
    "": "",
    "strong": "bold",
    "quiet": "dim",
    "good": "green",
    "bad": "red",
    "attention": "yellow",
}
_log = logging.getLogger(__name__)


class LiveView:
    """A listener that shows a run at a terminal while the context is entered.

    The terminal is as before when the context is left, for any reason, and while the command is stopped by
    ^Z. An error in a drawing ends the drawing, not the run.
    """

    def __init__(
        self,
        writer: TerminalWriter,
        clock: Clock,
        *,
        view_of: Callable[[str], RunView | None],
        limit_of: Callable[[RunState], int | None] = lambda state: None,
        keyboard: Keyboard | None = None,
        answer: Callable[[str, QuestionState, str], Awaitable[None]] | None = None,
        leave_open: Callable[[], None] = lambda: None,
        hint: str = "",
        zone: Zone = None,
        has_colour: bool = True,
    ) -> None:
        """`view_of` gives a run after its stored facts; it is called when the first fact is a later one.
        `limit_of` gives the number of attempts that each task of a run has.

        `answer` is called with a line that was typed while the question was open, `leave_open` when the line
        was empty.
        """
        self._writer, self._clock, self._zone = writer, clock, zone
        self._view_of, self._limit_of = view_of, limit_of
        self._hint, self._has_colour = hint, has_colour
        self._keyboard = keyboard if answer is not None else None
        self._answer, self._leave_open = answer, leave_open
        self._view: RunView | None = None
        self._preparation: Preparation | None = None
        self._lines: list[Row] = []
        """Finished lines that are not on the screen yet."""
        self._block: list[Row] = []
        self._columns = 0
        """Of the screen when the block was drawn."""
        self._changed = asyncio.Event()
        self._live: Live | None = None
        self._console: Console | None = None
        self._drawing: asyncio.Task[None] | None = None
        self._typing: QuestionState | None = None
        """The question that the user can answer at the prompt; nothing is drawn meanwhile."""
        self._seen: str | None = None
        """The last question for which earlier input was dropped."""
        self._left: set[str] = set()
        """Questions that the user leaves open."""
        self._sent: set[str] = set()
        """Questions with an answer that is being stored."""
        self._answering: set[asyncio.Future[None]] = set()

    # Everything that is shown

    def __call__(self, fact: Fact) -> None:
        if self._view is None:
            self._view = RunView() if isinstance(fact.body, RunStarted) else self._view_of(fact.run)
            self._view = self._view or RunView()
        self._preparation = None
        self._view = follow(self._view, fact)
        if isinstance(fact.body, AttemptStarted) and self._view.state is not None:
            # The settings of a new run are stored by now, and those of a resumed one may be others.
            self._view = replace(self._view, attempts_limit=self._limit_of(self._view.state))
        tone = tone_of(fact.body)
        at = clock_time(fact.at, self._zone)
        self._lines += [Row(f"{at}  {line}", tone) for line in lines(fact, self._view, self._zone)]
        self._changed.set()

    def prepare(self, what: str) -> None:
        """Show a step that comes before the run's first fact."""
        self._preparation = Preparation(what=what, since=self._now())
        self._changed.set()

    def show_progress(self, line: str) -> None:
        """Show the last line of the output of an image build."""
        what = "building the image"
        if self._preparation is None or self._preparation.what != what:
            self.prepare(what)
        assert self._preparation is not None
        self._preparation = replace(self._preparation, last_output=line)
        self._changed.set()

    def keep_last(self, number: int, *, has_earlier: bool) -> None:
        """Leave out all but the last lines that are not on the screen yet, and say so."""
        if has_earlier or len(self._lines) > number:
            self._lines = [Row("… earlier lines are left out", "quiet"), *self._lines[-number:]]

    def say(self, text: str, tone: Tone = "attention") -> None:
        """Add lines that are not those of a fact."""
        self._lines += [Row(line, tone) for line in plain(text).splitlines()]
        self._changed.set()

    # The terminal

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._enter()
        for number, react in self._reactions().items():
            loop.add_signal_handler(number, react)
        if self._keyboard is not None:
            loop.add_reader(self._keyboard.descriptor, self._take_line)
        self._logging = _ShownLog(self)
        logging.getLogger().addHandler(self._logging)
        self._drawing = asyncio.ensure_future(self._keep_drawn())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        if self._drawing is not None:
            self._drawing.cancel()
        for number in self._reactions():
            loop.remove_signal_handler(number)
        if self._keyboard is not None:
            loop.remove_reader(self._keyboard.descriptor)
        logging.getLogger().removeHandler(self._logging)
        self.leave()

    def leave(self) -> None:
        """Show the lines that are left, remove the block, and give the terminal its cursor and modes back."""
        self._stop_typing(is_withdrawn=True)
        live, self._live = self._live, None
        try:
            if live is not None:
                self._erase_excess()
                self._drawn.text = self._to_text([])
                self._print_lines()
                live.stop()
        finally:
            self._block = []
            for row in self._lines:
                self._writer.write(f"{row.text}\n")
            self._lines.clear()
            self._writer.flush()
            if self._keyboard is not None:
                self._keyboard.restore()

    def _enter(self) -> None:
        """Begin to draw; a job in the background prints lines only, and leaves the terminal's modes alone."""
        if self._live is not None or not self._writer.is_in_foreground():
            return
        from rich.console import Console
        from rich.live import Live

        columns, rows = self._writer.size()
        self._console = Console(
            file=self._writer,  # type: ignore[arg-type]  # it uses only what the writer has
            force_terminal=True,
            force_interactive=True,
            color_system="standard",
            no_color=not self._has_colour,
            markup=False,
            emoji=False,
            highlight=False,
            legacy_windows=False,
            width=columns,
            height=rows,
        )
        self._drawn = _Drawn(self._to_text([]))
        self._live = Live(
            self._drawn,
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        if self._keyboard is not None:
            self._keyboard.silence()
        self._live.start()
        self._changed.set()

    def _reactions(self) -> dict[signal.Signals, Callable[[], None]]:
        return {
            signal.SIGWINCH: self._changed.set,
            signal.SIGTSTP: self._stop_for_shell,
            signal.SIGCONT: self._enter,
        }

    def _stop_for_shell(self) -> None:
        """^Z: the shell gets its terminal as it was; after `fg` the block is drawn again."""
        self.leave()
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGTSTP)  # so that the signal stops this process
        os.kill(os.getpid(), signal.SIGTSTP)
        loop.add_signal_handler(signal.SIGTSTP, self._stop_for_shell)
        self._enter()

    # Drawing

    async def _keep_drawn(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                begun = loop.time()
                self._changed.clear()
                self.draw()
                await asyncio.sleep(max(DRAW_SECONDS - (loop.time() - begun), 0))
                try:
                    async with asyncio.timeout(TICK_SECONDS - DRAW_SECONDS):
                        await self._changed.wait()
                except TimeoutError:
                    pass
        except Exception:
            _log.exception("drawing_failed: the run continues, with plain lines")
            self._keyboard, keyboard = None, self._keyboard
            if keyboard is not None:
                loop.remove_reader(keyboard.descriptor)
                keyboard.restore()
            self.leave()

    def draw(self) -> None:
        """Bring the screen up to date, if something has changed since the last time."""
        if self._live is None:
            self._print_plainly()
            return
        if self._typing is not None:
            if self._is_open(self._typing):
                return
            self._stop_typing(is_withdrawn=True)
        view = self._view or RunView()
        columns, rows = self._writer.size()
        screen = Screen(
            columns=columns, rows=rows, now=self._now(), zone=self._zone, hint=self._hint_of(view)
        )
        block = draw_block(view, screen, self._preparation)
        asked = self._question_to_ask(view)
        if not self._lines and block == self._block and columns == self._columns and asked is None:
            return
        self._erase_excess()
        assert self._console is not None
        self._console.size = (columns, rows)
        self._columns, self._block = columns, block
        if asked is not None and rows > 2:
            self._block = [*block, *prompt_rows(columns)]
        self._drawn.text = self._to_text(self._block)
        if self._lines:
            self._print_lines()
        else:
            self._live.refresh()
        self._writer.flush()
        if asked is not None:
            self._begin_typing(asked)

    def _print_plainly(self) -> None:
        for row in self._lines:
            self._writer.write(f"{row.text}\n")
        self._lines.clear()
        self._writer.flush()

    def _print_lines(self) -> None:
        """Print the finished lines above the block, none of which the terminal has to wrap."""
        assert self._console is not None
        if not self._lines:
            return
        columns = max(self._columns or self._writer.size()[0], 1)
        text = self._to_text([row for line in self._lines for row in fit_line(line, columns)])
        self._lines.clear()
        self._console.print(text, no_wrap=True, overflow="ignore", crop=False)

    def _to_text(self, rows: list[Row]) -> "Text":
        from rich.text import Text

        text = Text(no_wrap=True, overflow="ignore", end="\n")
        for number, row in enumerate(rows):
            text.append("\n" if number else "")
            text.append(row.text, _STYLES[row.tone])
        return text

    def _erase_excess(self) -> None:
        """Erase the rows that a block takes in addition since the screen has become narrower.

        Most terminals break the rows of the block when it gets narrower, and Rich does not know that.
        """
        columns, _ = self._writer.size()
        if not self._block or columns >= self._columns or self._console is None:
            return
        from rich.control import Control
        from rich.segment import ControlType

        excess = sum((max(width(row.text), 1) - 1) // max(columns, 1) for row in self._block)
        if excess:
            codes = [(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * excess
            self._console.control(Control(*codes))

    def _now(self) -> str:
        return utc_text(self._clock.now())

    def _hint_of(self, view: RunView) -> str:
        question = view.question
        if question is None or self._keyboard is None:
            return self._hint
        if question.asked.question in self._left:
            return f"to answer it: orchestrator answer {view.state.run if view.state else ''} TEXT"
        return "Enter: answer the question"

    # Questions

    def _question_to_ask(self, view: RunView) -> QuestionState | None:
        """The question to ask now: one that is open while nothing else is shown to happen."""
        question = view.question
        if question is None or self._keyboard is None or question.asked.question in self._left | self._sent:
            return None
        if question.asked.question != self._seen:
            self._seen = question.asked.question
            self._keyboard.forget_typed()
        is_waiting = view.state is not None and view.state.waiting is not None and view.state.end is None
        return question if is_waiting and not view.doing else None

    def _is_open(self, question: QuestionState) -> bool:
        state = None if self._view is None else self._view.state
        return state is not None and state.end is None and question in state.open_questions

    def _begin_typing(self, question: QuestionState) -> None:
        assert self._keyboard is not None and self._console is not None
        self._typing = question
        self._keyboard.restore()
        self._console.show_cursor(True)
        self._writer.flush()

    def _stop_typing(self, typed: str = "", *, is_withdrawn: bool = False) -> None:
        """Draw again. After a typed line the cursor is below the block; it returns to its last row."""
        if self._typing is None or self._console is None or self._keyboard is None:
            return
        from rich.control import Control
        from rich.segment import ControlType

        self._typing = None
        if is_withdrawn:
            self._keyboard.forget_typed()
        else:
            typed_rows = 1 + (width(PROMPT + plain(typed)) - 1) // max(self._columns, 1)
            self._console.control(Control(*[(ControlType.CURSOR_UP, 1)] * typed_rows))
            # Rich erases the rows of the block; the typed line may have more.
        self._keyboard.silence()
        self._console.show_cursor(False)
        self._changed.set()

    def _take_line(self) -> None:
        """A line was typed: it answers the question, if one is open."""
        assert self._keyboard is not None
        typed = self._keyboard.read_line()
        question = self._typing or (None if self._view is None else self._view.question)
        is_at_prompt = self._typing is not None
        if typed is None:
            asyncio.get_running_loop().remove_reader(self._keyboard.descriptor)
        if is_at_prompt:
            self._stop_typing(typed or "")
        if question is None or question.asked.question in self._left | self._sent:
            return
        if typed is not None and typed.strip():
            self._send_answer(question, typed.strip())
        elif is_at_prompt:
            self._left.add(question.asked.question)
            self._leave_open()
        elif self._live is not None:
            self._ask_now(question)
        self._changed.set()

    def _ask_now(self, question: QuestionState) -> None:
        """The user wants to answer while other tasks are at work."""
        view = self._view
        if view is None or self._live is None:
            return
        columns, rows = self._writer.size()
        screen = Screen(columns=columns, rows=rows, now=self._now(), zone=self._zone)
        self._erase_excess()
        self._columns = columns
        block = draw_block(replace(view, work={}, state=view.state), screen)
        self._block = [*block, *prompt_rows(columns)]
        self._drawn.text = self._to_text(self._block)
        self._live.refresh()
        self._writer.flush()
        self._begin_typing(question)

    def _send_answer(self, question: QuestionState, typed: str) -> None:
        assert self._answer is not None and self._view is not None and self._view.state is not None
        run = self._view.state.run

        async def send(answer: Callable[[str, QuestionState, str], Awaitable[None]]) -> None:
            try:
                await answer(run, question, typed)
            except OrchestratorError as error:
                self._sent.discard(question.asked.question)
                self.say(f"error: {error}", "bad")

        self._sent.add(question.asked.question)
        sending = asyncio.ensure_future(send(self._answer))
        self._answering.add(sending)
        sending.add_done_callback(self._answering.discard)


def prompt_rows(columns: int) -> list[Row]:
    return [Row(shorten_end(HOW_TO_ANSWER, columns), "quiet"), Row(PROMPT, "attention")]


def fit_line(line: Row, columns: int) -> list[Row]:
    """The line in rows of the screen. The agent's output is shortened, everything else is kept whole."""
    if line.tone == "quiet":
        return [Row(shorten_end(line.text, columns), line.tone)]
    indent = _TIME + 8 if columns >= 4 * _TIME else 2
    return [Row(row, line.tone) for row in fold(line.text, columns, indent)]


class _Drawn:
    """The block as Rich draws it: below finished lines, too, it is the one of now."""

    def __init__(self, text: "Text") -> None:
        self.text = text

    def __rich__(self) -> "Text":
        return self.text


class _ShownLog(logging.Handler):
    """Warnings of the program go through the view: on standard error they would end up in the block."""

    def __init__(self, view: LiveView) -> None:
        super().__init__(logging.WARNING)
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        self._view.say(one_line(record.getMessage(), 400))
