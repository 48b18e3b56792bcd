"""Reads a failed command: whether a prerequisite is missing, and whether it fails as it did before.

**Why the comparison is careful.** With `verify.base = "no_worse"` a guard that fails as before counts as
passed. A new failure that is taken for the old one would land unseen, while an old failure that is taken for
a new one only costs an attempt. So a failure in doubt counts as new.

**What a report of tests is worth.** pytest writes a JUnit report because the container's environment asks for
it. The code under test runs in the same process and can write anything into it. So a report only counts if it
names as many failures as the one summary in the output, and it can only say which tests failed: the exit code
is never taken from it.
"""

import re
from typing import NamedTuple
from xml.parsers import expat

from orchestrator.run.facts import Before
from orchestrator.supervision.failure_signatures import normalise
from orchestrator.text import plain, plain_end

NOT_FOUND_EXITS = frozenset({126, 127})
"""Of a shell: the program cannot be executed, or does not exist."""
PYTEST_NO_TESTS_EXIT = 5
"""No tests were collected."""
PYTEST_NOT_THERE_EXITS = frozenset({4, PYTEST_NO_TESTS_EXIT})
"""The named tests do not exist, or none were collected."""


class Failure(NamedTuple):
    """A command that has failed."""

    exit_code: int
    output: str
    tests: tuple[str, ...] | None
    """The failed tests by a report of pytest; None without one."""


def judge_before_the_work(command: str, exit_code: int, *, is_guard: bool = False) -> Before:
    """Whether the base passes a command, fails it, or lacks what the command needs, by its exit code.

    A command of a task may need what the task makes. A guard may not: of its failures only pytest's "no
    tests" is not one.
    """
    if exit_code == 0:
        return "already_green"
    if is_guard:
        return "absent" if finds_no_tests(command, exit_code) else "red"
    if exit_code in NOT_FOUND_EXITS or ("pytest" in command and exit_code in PYTEST_NOT_THERE_EXITS):
        return "absent"
    return "red"


def finds_no_tests(command: str, exit_code: int) -> bool:
    """Whether pytest says that it has collected no tests."""
    return "pytest" in command and exit_code == PYTEST_NO_TESTS_EXIT


_PROGRAM = r"[\w./+-]{1,100}"
_MISSING = (
    ("module", re.compile(r"No module named '?([\w.]{1,100})'?")),
    ("module", re.compile(r"Cannot find (?:module|package) '([^'\n]{1,100})'")),
    ("module", re.compile(r"no required module provides package ([\w./-]{1,100})")),
    ("program", re.compile(rf"^(?:.*: )?({_PROGRAM}): (?:command )?not found$", re.MULTILINE)),
    ("program", re.compile(rf"Failed to spawn: `({_PROGRAM})`")),
    ("program", re.compile(rf'exec: "({_PROGRAM})": executable file not found')),
    ("program", re.compile(rf"(?:linker|program) [`'\"]({_PROGRAM})[`'\"] not found")),
    ("program", re.compile(rf"/usr/bin/env: [‘'\"]?({_PROGRAM})[’'\"]?: No such file or directory")),
    ("program", re.compile(rf"^make(?:\[\d+\])?: ({_PROGRAM}): No such file or directory$", re.MULTILINE)),
    ("program", re.compile(rf"^bash: line \d+: ({_PROGRAM}): No such file or directory$", re.MULTILINE)),
)
_SEARCHED_CHARACTERS = 20_000


def find_missing(command: str, exit_code: int, output: str) -> str | None:
    """`program NAME` or `module NAME`, which a failed command needs and does not find; None if unknown."""
    end = plain_end(output, _SEARCHED_CHARACTERS)
    for kind, pattern in _MISSING:
        found = pattern.search(end)
        if found is not None:
            return f"{kind} {found[1]}"
    if exit_code in NOT_FOUND_EXITS:
        return f"program {command.split(maxsplit=1)[0]}"
    return None


def fails_as_before(command: str, before: Failure, now: Failure) -> bool:
    """Whether the failure is the one from before, or a part of it."""
    if before.exit_code != now.exit_code:
        return False
    if finds_no_tests(command, now.exit_code):
        return True
    old, new = _list_trusted_tests(before), _list_trusted_tests(now)
    if old and new:
        return new <= old
    return normalise(before.output) == normalise(now.output)


_SUMMARY = re.compile(
    r"^=*\s?(\d+ (?:failed|passed|error|skipped|xfailed).*) in [\d.:]+s?\b.*$", re.MULTILINE
)
_FAILED = re.compile(r"(\d+) (?:failed|errors?)\b")


def _list_trusted_tests(failure: Failure) -> frozenset[str] | None:
    """The failed tests of a report that agrees with the output; None without such a report."""
    if failure.tests is None:
        return None
    summaries = _SUMMARY.findall(plain(failure.output))
    if len(summaries) != 1:
        return None
    counted = sum(int(number) for number in _FAILED.findall(summaries[0]))
    return frozenset(failure.tests) if counted == len(failure.tests) > 0 else None


class _Refused(Exception):
    """The report has what no report of pytest has."""


def read_failed_tests(report: bytes) -> tuple[str, ...] | None:
    """The names of the failed tests in a JUnit report; None if it cannot be read. Entities are refused."""
    failed: list[str] = []
    current = ""

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal current
        if name == "testcase":
            current = f"{attributes.get('classname', '')}::{attributes.get('name', '')}"
        elif name in ("failure", "error"):
            failed.append(current)

    def refuse(*_given: object) -> None:
        raise _Refused

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(report, True)
    except (expat.ExpatError, _Refused, ValueError):
        return None
    return tuple(failed)
