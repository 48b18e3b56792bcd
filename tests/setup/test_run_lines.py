"""Host processes whose output is handed over line by line."""

import pytest

from orchestrator.subprocesses import ProcessTimeout, run_lines


@pytest.mark.parametrize(
    ("script", "exit_code", "lines"),
    [
        pytest.param(
            "echo one; echo two >&2; echo three", 0, ["one", "two", "three"], id="output-and-errors"
        ),
        pytest.param(
            "printf 'a\\n\\nb'; exit 4", 4, ["a", "", "b"], id="empty-line-and-no-newline-at-the-end"
        ),
        pytest.param("printf 'a\\377b\\n'", 0, ["a\ufffdb"], id="not-utf-8"),
        pytest.param("head -c 300000 /dev/zero | tr '\\0' x", 0, ["x" * 300_000], id="a-very-long-line"),
        pytest.param("exit 9", 9, [], id="silence"),
    ],
)
async def test_lines_and_exit_code(script: str, exit_code: int, lines: list[str]) -> None:
    seen: list[str] = []
    assert await run_lines(["sh", "-c", script], timeout=30, on_line=seen.append) == exit_code
    assert seen == lines


async def test_what_came_before_the_deadline_was_handed_over() -> None:
    seen: list[str] = []
    with pytest.raises(ProcessTimeout):
        await run_lines(["sh", "-c", "echo early; sleep 60; echo late"], timeout=1, on_line=seen.append)
    assert seen == ["early"]
