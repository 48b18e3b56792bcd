"""Whole sessions at a terminal: real command lines over the fakes, as text that a reader can follow."""

import asyncio
import contextlib
import io
import os
import re
import shlex
import subprocess  # noqa: TID251 - other commands of a session run in a shell, as a user's do
import time

import pytest

from orchestrator.cli.host import use_host
from orchestrator.cli.main import main
from orchestrator.testing.project import TemporaryProject

FOLDER = "/home/ada/greeting"
_DURATION = r"(?:\b\d+ min(?: \d+ s)?|\b\d+(?:\.\d)? s\b)"
_NUMBERS = (
    (re.compile(r"\d\d:\d\d:\d\d"), "12:00:00"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d CET"), "2026-01-31 12:00 CET"),
    (re.compile(_DURATION), "3.0 s"),
    (re.compile(r"process \d+"), "process 4711"),
    (re.compile(r"[/…]\S*/code\b"), FOLDER),
    (re.compile(r"--git-dir=\S+"), "--git-dir=/home/ada/.local/state/ktrdr-orchestrator/repositories/1"),
    (re.compile(r"─{24,}$", re.MULTILINE), "─" * len(FOLDER)),
    (re.compile(r"\b\d+(?:\.\d)? [KMG]?B\b"), "1.2 MB"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "00000000-0000-0000-0000-000000000000"),
)
_BLURRED = (
    (re.compile(r"\bplan-[0-9a-f]{6}\b"), "plan-000001"),
    (re.compile(r"\b[0-9a-f]{12}(?:[0-9a-f]{28})?\b"), "111111111111"),
    (re.compile(r"\b\d+ h\b"), "3.0 s"),
    (re.compile(r"\be\d+\b"), "e1"),
    (re.compile(r"─+"), "─"),
    (re.compile(r"(?<=\S)  +"), "  "),
)


def blur(text: str) -> list[str]:
    """The lines of a session without what differs between two runs of the same commands."""
    for pattern, same in (*_NUMBERS, *_BLURRED):
        text = pattern.sub(same, text)
    return [line.rstrip() for line in text.splitlines()]


class Session:
    """Types commands in a project's folder, and keeps what a user would see."""

    def __init__(self, project: TemporaryProject, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project = project
        self._text = self._elsewhere = ""
        self.exit_code = 0
        self.stdout = ""
        monkeypatch.chdir(project.folder)
        monkeypatch.setenv("TZ", "CET-1")
        time.tzset()
        # The commands' own event loops have the project's time, and continue its containers.
        monkeypatch.setattr(asyncio, "run", project.do)

    def type(self, line: str) -> "Session":
        """Run a command line: `orchestrator` in this process, any other program in a shell."""
        words = shlex.split(line)
        typed = self._type_ours(words[1:]) if words[0] == "orchestrator" else self.in_shell(line)
        self.stdout, errors, self.exit_code = typed
        shown = "".join(f"! {each}\n" for each in errors.splitlines())
        code = f"(exit {self.exit_code})\n" if self.exit_code else ""
        self._text += f"$ {line}\n{self.stdout}{shown}{code}\n{self._elsewhere}"
        self._elsewhere = ""
        return self

    def elsewhere(self, line: str) -> None:
        """Run one of our commands in a second terminal, while a command runs in the first."""
        shown, errors, code = self._type_ours(shlex.split(line)[1:])
        self._elsewhere += f"another terminal$ {line}\n{shown}{errors}" + (
            f"(exit {code})\n\n" if code else "\n"
        )

    @property
    def next_command(self) -> str:
        """The command that the last line on standard output asks the user to type."""
        last = self.stdout.splitlines()[-1]
        assert last.startswith("next: "), last
        return last.removeprefix("next: ")

    def _type_ours(self, words: list[str]) -> tuple[str, str, int]:
        out, err = io.StringIO(), io.StringIO()
        with (
            use_host(self.project.host),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main(words)
        return out.getvalue(), err.getvalue(), code

    def in_shell(self, line: str) -> tuple[str, str, int]:
        """Output, errors and exit code of a command that is not part of what the session shows."""
        environ = {**self.project.environ, "GIT_PAGER": "cat", "GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.project.folder, env=environ, capture_output=True, timeout=60
        )
        return done.stdout.decode(), done.stderr.decode(), done.returncode

    @property
    def text(self) -> str:
        """All of it, with the same ids, times and hashes in every run of the test."""
        text = self._text.replace(str(self.project.folder), FOLDER)
        text = text.replace(str(self.project.state), "/home/ada/.local/state/ktrdr-orchestrator")
        runs = list(dict.fromkeys(re.findall(r"\bplan-[0-9a-f]{6}\b", text)))
        for number, run in enumerate(runs, 1):
            text = text.replace(run, f"plan-{number:06}")
        hashes = re.findall(r"\b[0-9a-f]{12}(?:[0-9a-f]{28})?\b", text)
        first = list(dict.fromkeys(found[:12] for found in hashes))
        for number, found in enumerate(first, 1):
            text = re.sub(rf"\b{found}(?:[0-9a-f]{{28}})?\b", f"{number:x}" * 12, text)
        text = re.sub(r"index [0-9a-f]{7,}\.\.[0-9a-f]{7,}", "index 1111111..2222222", text)
        # In a column of a table, the same number of characters.
        text = re.sub(_DURATION + "(?=  )", lambda found: "3.0 s".ljust(len(found[0])), text)
        for pattern, same in _NUMBERS:
            text = pattern.sub(same, text)
        return text
