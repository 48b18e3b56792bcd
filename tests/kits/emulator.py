"""A terminal in memory: an emulator that other programs use, too, draws what is written to it."""

import sys

import pyte

from orchestrator.cli.terminal import TerminalWriter

COLUMNS, ROWS = 60, 16


class Screen(TerminalWriter):
    """A terminal in memory, which another program's emulator draws."""

    def __init__(self, columns: int = COLUMNS, rows: int = ROWS) -> None:
        super().__init__(sys.__stdout__ or sys.stdout)
        self.screen = pyte.HistoryScreen(columns, rows, history=100_000)
        self.screen.set_mode(pyte.modes.LNM)  # as the terminal's driver: a newline also returns
        self.stream = pyte.Stream(self.screen)
        self.written: list[str] = []
        self.encoding = "utf-8"

    def _write(self, data: bytes) -> int:
        self.written.append(data.decode())
        self.stream.feed(data.decode())
        return len(data)

    def size(self) -> tuple[int, int]:
        return self.screen.columns, self.screen.lines

    def is_in_foreground(self) -> bool:
        return True

    @property
    def rows(self) -> list[str]:
        above = ["".join(row[x].data for x in range(self.screen.columns)) for row in self.screen.history.top]
        return [row.rstrip() for row in (*above, *self.screen.display) if row.strip()]
