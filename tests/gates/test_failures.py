"""Reading a failed command: the program or module that is missing, and whether it failed like this before."""

import pytest

from orchestrator.gates.failures import (
    Failure,
    fails_as_before,
    find_missing,
    judge_before_the_work,
    read_failed_tests,
)
from orchestrator.supervision.failure_signatures import normalise

# In the words of these programs; those of bash 5.2, dash, make 4.3, env and python 3.11 are captured.
MISSING = {
    "bash": (127, "bash: line 1: mypy: command not found\n", "program mypy"),
    "bash, a path": (127, "bash: line 1: .venv/bin/x: No such file or directory\n", "program .venv/bin/x"),
    "sh": (127, "sh: 1: tsc: not found\n", "program tsc"),
    "a shell says nothing": (127, "", "program suite"),
    "not executable": (126, "bash: line 1: ./x: Permission denied\n", "program suite"),
    "uv": (2, "error: Failed to spawn: `pytest`\n  Caused by: No such file (os error 2)\n", "program pytest"),
    "make": (2, "make: pytest: No such file or directory\nmake: *** Error 127", "program pytest"),
    "env": (127, "/usr/bin/env: ‘ruby’: No such file or directory\n", "program ruby"),
    "python -m": (1, "/usr/bin/python3: No module named pytest\n", "module pytest"),
    "import": (1, "E   ModuleNotFoundError: No module named 'requests'\n", "module requests"),
    "node": (1, "Error: Cannot find module 'vitest'\nRequire stack:\n", "module vitest"),
    "cgo": (1, 'cgo: C compiler "gcc" not found: exec: "gcc": executable file not found', "program gcc"),
    "rust": (101, "error: linker `cc` not found\n", "program cc"),
    "a failing test": (1, "FAILED tests/test_a.py::test_x - assert 1 == 2\n", None),
}  # fmt: skip


@pytest.mark.parametrize(("exit_code", "output", "expected"), MISSING.values(), ids=MISSING)
def test_what_a_command_misses(exit_code: int, output: str, expected: str | None) -> None:
    assert find_missing("suite --all", exit_code, output) == expected


GUARDS = {
    "green": ("pytest", 0, "already_green"),
    "red": ("pytest", 1, "red"),
    "no tests yet": ("uv run pytest -q", 5, "absent"),
    "no such file": ("pytest tests/new", 4, "red"),
    "not found": ("pytest", 127, "red"),
    "not executable": ("./check", 126, "red"),
    "5 of something else": ("make check", 5, "red"),
}


@pytest.mark.parametrize(("command", "exit_code", "expected"), GUARDS.values(), ids=GUARDS)
def test_what_an_exit_code_of_a_guard_means(command: str, exit_code: int, expected: str) -> None:
    assert judge_before_the_work(command, exit_code, is_guard=True) == expected


def failed(*tests: str, summary: str | None = None, exit_code: int = 1, more: str = "") -> Failure:
    """A pytest that names these tests in its report."""
    summary = f"{len(tests)} failed, 3 passed in 0.12s" if summary is None else summary
    return Failure(exit_code, f"{more}\n=== {summary} ===\n", tests)


A, B = "tests.test_a::test_a", "tests.test_b::test_b"
COMPARED = {
    "the same test": (failed(A), failed(A, more="other text"), True),
    "one of two is repaired": (failed(A, B), failed(A), True),
    "another one": (failed(A), failed(B), False),
    "one more": (failed(A), failed(A, B), False),
    "another exit code": (failed(A), failed(A, exit_code=2), False),
    "a report with fewer than the output": (
        failed(A),
        failed(A, summary="2 failed, 2 passed in 0.1s"),
        False,
    ),
    "a report of the last of two": (
        failed(A),
        failed(A, more="=== 1 failed in 0.1s ==="),
        False,
    ),
    "a report without a failure": (failed(A), failed(summary="1 failed in 0.1s"), False),
    "no report, the same text": (
        Failure(1, "x.py:3: error at 0x7f0a\n1 failed in 0.12s\n", None),
        Failure(1, "x.py:3: error at 0x55bc\n1 failed in 3.40s\n", None),
        True,
    ),
    "no report, in another order": (Failure(1, "a\nb\n", None), Failure(1, "b\na\n", None), True),
    "no report, one more line": (
        Failure(1, "a failed\n", None),
        Failure(1, "a failed\nb failed\n", None),
        False,
    ),
    "a report only before": (failed(A), Failure(1, "something else\n", None), False),
}


@pytest.mark.parametrize(("before", "now", "expected"), COMPARED.values(), ids=COMPARED)
def test_whether_it_fails_as_before(before: Failure, now: Failure, expected: bool) -> None:
    assert fails_as_before("uv run pytest", before, now) is expected


def test_no_tests_yet_is_the_same_for_every_output() -> None:
    before, now = (
        Failure(5, "no tests ran in 0.01s", None),
        Failure(5, "no tests ran in 0.5s; a warning", None),
    )
    assert fails_as_before("pytest", before, now)
    assert not fails_as_before("make test", before, now)


VOLATILE = {
    "time": ("at 2026-11-28T00:01:02.5Z", "at 2025-01-02T10:20:30.1Z"),
    "duration": ("took 1.25 s", "took 17.0 s"),
    "address": ("<A object at 0x7f>", "<A object at 0x9c1>"),
    "temporary folder": ("/tmp/pytest-1/x", "/tmp/pytest-22/x"),
    "process": ("pid 17", "pid 23"),
    "commit": ("at 3f2a9bc1", "at 77bc01d2"),
    "colour": ("\x1b[31mred\x1b[0m", "red"),
}


@pytest.mark.parametrize(("one", "other"), VOLATILE.values(), ids=VOLATILE)
def test_what_differs_from_run_to_run_does_not_count(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1 failed", "2 failed"), ("test_a", "test_b"), ("x.py:3", "x.py:4")]
)
def test_the_rest_counts(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


# Written by pytest 9.2.
REPORT = b"""<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest"
errors="0" failures="1" skipped="0" tests="2" time="0.436"><testcase classname="test_x" name="test_b[1]">
<failure message="assert 1 == 2">n = 1
&gt;       assert n == 2
test_x.py:4: AssertionError</failure></testcase><testcase classname="test_x" name="test_a" /></testsuite>
</testsuites>"""


def test_a_report_of_pytest() -> None:
    assert read_failed_tests(REPORT) == ("test_x::test_b[1]",)


@pytest.mark.parametrize(
    "report",
    [b"", b"nothing", REPORT[:100], b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', b"<a>\x00</a>"],
    ids=["empty", "text", "half of it", "entities", "a zero byte"],
)
def test_an_odd_report_is_none(report: bytes) -> None:
    assert read_failed_tests(report) is None
