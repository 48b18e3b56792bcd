"""`logs`: what an agent printed, its control codes made visible."""

import json
from pathlib import Path

import pytest
from cli_kit import orchestrate, remember
from run_histories import READY, RUN, attempt

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
