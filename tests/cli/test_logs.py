"""`logs`: what an agent printed, its control codes made visible."""

import json
import os
from pathlib import Path

import pytest
from claude_code_streams import CAPTURED
from cli_kit import orchestrate, remember
from run_histories import READY, RUN, attempt

from orchestrator.state_folder import open_state_folder

STDOUT = b"one\n\x1b[2Jtwo\xff\nno newline"


@pytest.fixture
def run(tmp_path: Path) -> str:
    folder = remember((*READY, attempt(1), attempt(2)))
    for number, text in ((1, STDOUT), (2, b"second\n")):
        transcript = folder / "attempts" / "1" / str(number) / "transcript"
        transcript.mkdir(parents=True)
        (transcript / "stdout").write_bytes(text)
        (transcript / "stderr").write_bytes(b"oh\n")
    evidence = folder / "evidence" / "e1"
    evidence.mkdir(parents=True)
    (evidence / "output").write_bytes(b"\x1b[31mred\n")
    return RUN


def test_lines_carry_attempt_and_stream(run: str, tmp_path: Path) -> None:
    done = orchestrate("logs", run, "--attempt", "1", cwd=tmp_path)
    assert done.stdout.decode() == "1/1  one\n1/1  ␛[2Jtwo\ufffd\n1/1  no newline\n1/1! oh\n"
    assert done.returncode == 0


def test_all_attempts_are_shown_in_order(run: str, tmp_path: Path) -> None:
    lines = orchestrate("logs", run, cwd=tmp_path).stdout.decode().splitlines()
    assert [line[:4] for line in lines] == ["1/1 ", "1/1 ", "1/1 ", "1/1!", "1/2 ", "1/2!"]


def test_raw_gives_the_stored_bytes(run: str, tmp_path: Path) -> None:
    assert orchestrate("logs", run, "--raw", "--attempt", "1", cwd=tmp_path).stdout == STDOUT


def test_json_lines(run: str, tmp_path: Path) -> None:
    done = orchestrate("logs", run, "--json", "--attempt", "1", cwd=tmp_path)
    found = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert found[1] == {
        "schema": 1,
        "run": run,
        "task": "1",
        "attempt": 1,
        "stream": "stdout",
        "text": "\x1b[2Jtwo\ufffd",
    }
    assert [each["stream"] for each in found] == ["stdout"] * 3 + ["stderr"]


def test_evidence_is_shown_visible(run: str, tmp_path: Path) -> None:
    assert orchestrate("logs", run, "--evidence", "e1", cwd=tmp_path).stdout.decode() == "␛[31mred\n"


REFUSED = {
    "unknown run": (("nope",), "nope"),
    "unknown task": ((RUN, "--task", "7"), "Its tasks: 1"),
    "unknown evidence": ((RUN, "--evidence", "e7"), "Evidence of this run: e1"),
    "a path for evidence": ((RUN, "--evidence", "../plan"), "Evidence of this run: e1"),
    "raw of several": ((RUN, "--raw"), "--attempt"),
}


@pytest.mark.parametrize(("words", "hint"), REFUSED.values(), ids=REFUSED)
def test_an_unknown_id_is_an_error_with_a_next_step(
    run: str, tmp_path: Path, words: tuple[str, ...], hint: str
) -> None:
    done = orchestrate("logs", *words, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == b""
    assert hint in done.stderr.decode()


CLAUDE = CAPTURED / "unknown-tool.jsonl"
READABLE = """\
1/3  model claude-haiku-4-5
1/3  does  Nope: use Nope {"a": {"b": "\\u001b[31m[/workspace/a.py]"}}
1/3  fails <tool_use_error>Error: No such tool available: Nope</tool_use_error>
1/3  ends  completed: did it
1/3  ␛[2Jnot JSON
"""


@pytest.fixture
def by_claude(tmp_path: Path) -> Path:
    """The transcript of an attempt of Claude Code, in a run whose agent is another one now."""
    folder = remember((*READY, attempt(3, agent="claude-code")))
    transcript = folder / "attempts" / "1" / "3" / "transcript"
    transcript.mkdir(parents=True)
    (transcript / "stdout").write_bytes(CLAUDE.read_bytes() + b"\x1b[2Jnot JSON\n")
    return transcript


def test_a_stream_of_json_is_shown_as_what_the_agent_says_and_does(by_claude: Path, tmp_path: Path) -> None:
    assert orchestrate("logs", RUN, cwd=tmp_path).stdout.decode() == READABLE
    found = orchestrate("logs", RUN, "--json", cwd=tmp_path).stdout.decode().splitlines()
    assert [json.loads(line)["text"] for line in found] == [
        line[5:].replace("␛", "\x1b") for line in READABLE.splitlines()
    ]
    raw = orchestrate("logs", RUN, "--raw", cwd=tmp_path).stdout
    assert raw == (by_claude / "stdout").read_bytes()


@pytest.mark.parametrize("words", [(), ("--raw",), ("--follow",)], ids=["readable", "raw", "follow"])
@pytest.mark.parametrize("kind", ["a pipe", "a link"])
def test_what_replaced_a_transcript_is_neither_followed_nor_waited_for(
    by_claude: Path, tmp_path: Path, kind: str, words: tuple[str, ...]
) -> None:
    stdout = by_claude / "stdout"
    stdout.unlink()
    if kind == "a pipe":
        os.mkfifo(stdout)
    else:
        stdout.symlink_to("/etc/passwd")
    done = orchestrate("logs", RUN, *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert str(stdout) in done.stderr.decode()


def test_a_line_of_any_length_is_shown_shortened(run: str, tmp_path: Path) -> None:
    stdout = open_state_folder(os.environ).path / "runs" / run / "attempts/1/1/transcript/stdout"
    stdout.write_bytes(b"x" * 50_000_000 + b"\nafter\n")
    first, second, *_ = orchestrate("logs", run, "--attempt", "1", cwd=tmp_path).stdout.decode().splitlines()
    assert first == f"1/1  {'x' * 10_000}… and 33544432 more characters"
    assert second == "1/1  after"
