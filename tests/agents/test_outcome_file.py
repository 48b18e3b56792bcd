"""The outcome file, as an agent might leave it."""

import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agents.outcomes import OUTCOME_SCHEMA, read_outcome_file
from orchestrator.events import OUTCOME_MAX_BYTES, InvalidOutcome, Outcome, parse_outcome

GOOD = b'{"status": "completed", "summary": "s"}'


def of_size(size: int) -> bytes:
    return GOOD + b" " * (size - len(GOOD))


@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        (GOOD, Outcome(status="completed", summary="s")),
        (b'  {"status": "failed"}\n', Outcome(status="failed")),
        (
            '{"status": "needs_human", "question": "Wéi?", "options": ["a"], "recommendation": "a"}'.encode(),
            Outcome(status="needs_human", question="Wéi?", options=("a",), recommendation="a"),
        ),
        (b'{"status": "completed", "x": {"y": [1]}}', Outcome(status="completed", extra={"x": {"y": [1]}})),
        (b'{"status": "completed", "summary": "\\ud800!"}', Outcome(status="completed", summary="?!")),
        (of_size(OUTCOME_MAX_BYTES), Outcome(status="completed", summary="s")),
    ],
    ids=["plain", "spaces", "question", "extra", "lone-surrogate", "largest"],
)
def test_a_valid_outcome(tmp_path: Path, raw: bytes, outcome: Outcome) -> None:
    path = tmp_path / "outcome.json"
    path.write_bytes(raw)
    assert read_outcome_file(path) == outcome


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not a JSON object"),
        (b"completed", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (GOOD + GOOD, "not a JSON object"),
        (b"\xef\xbb\xbf" + GOOD, "not a JSON object"),
        (b"\xff\xfe{}", "not UTF-8"),
        (GOOD.decode().encode("utf-16"), "not UTF-8"),
        (b'{"status": "failed", "status": "completed"}', 'the key "status" occurs twice'),
        (b'{"status": "completed", "x": NaN}', "NaN is not a JSON number"),
        (b'{"status": "completed", "x": 1e999}', "out of range"),
        (b'{"status": "completed", "x": ' + b"9" * 5_000 + b"}", "not a JSON object"),
        (b'{"status": "completed", "x": ' + b"[" * 400 + b"]" * 400 + b"}", "nested too deeply"),
        (b'{"status": "completed", "x": ' + b"[" * 400_000, "nested too deeply"),
        (b"{}", "status is not"),
        (b'{"status": "Completed"}', "status is not"),
        (b'{"status": "completed", "summary": 3}', "summary is not a string"),
        (b'{"status": "needs_human", "question": "  "}', "needs_human without a question"),
        (json.dumps({"status": "completed", "options": ["o"] * 21}).encode(), "more than 20 options"),
        (of_size(OUTCOME_MAX_BYTES + 1), "larger than 1000000 bytes"),
        (b"\x00" * 2_000_000, "larger than 1000000 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_invalid_outcome_has_a_reason(tmp_path: Path, raw: bytes, reason: str) -> None:
    path = tmp_path / "outcome.json"
    path.write_bytes(raw)
    found = read_outcome_file(path)
    assert isinstance(found, InvalidOutcome)
    assert reason in found.reason


def _symlink(path: Path) -> None:
    (path.parent / "elsewhere").write_bytes(GOOD)
    path.symlink_to(path.parent / "elsewhere")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "not a regular file"),
        (_symlink, "cannot be read"),
        (lambda path: path.symlink_to("/dev/zero"), "cannot be read"),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (lambda path: path.symlink_to("nowhere"), "cannot be read"),
        (Path.mkdir, "not a regular file"),
        (_socket, "cannot be read"),
    ],
    ids=["fifo", "symlink", "device-link", "loop", "dangling", "directory", "socket"],
)
def test_only_a_regular_file_is_read(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    path = tmp_path / "outcome.json"
    make(path)
    found = read_outcome_file(path)
    assert isinstance(found, InvalidOutcome)
    assert reason in found.reason


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    def open_now() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(GOOD)
    before = open_now()
    for name in ("folder", "file", "absent"):
        read_outcome_file(tmp_path / name)
    assert open_now() == before


def test_a_device_is_not_read() -> None:
    assert isinstance(read_outcome_file(Path("/dev/zero")), InvalidOutcome)


@pytest.fixture
def folder_of_anybody() -> Iterator[Path]:
    """A folder that is reached by any user, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Without root's power to read every file, when the tests run as root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


@pytest.mark.usefixtures("ordinary_user")
def test_a_file_that_may_not_be_read(folder_of_anybody: Path) -> None:
    found = read_outcome_file(_unreadable(folder_of_anybody))
    assert found == InvalidOutcome(reason="the outcome file cannot be read: Permission denied")


def _unreadable(folder: Path) -> Path:
    path, user = folder / "outcome.json", os.geteuid()
    os.seteuid(os.getuid())
    path.write_bytes(GOOD)
    path.chmod(0)
    os.seteuid(user)
    return path


@pytest.mark.parametrize("name", ["outcome.json", "no/folder/outcome.json"])
def test_without_a_file_there_is_no_outcome(tmp_path: Path, name: str) -> None:
    assert read_outcome_file(tmp_path / name) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcome.json"
        path.write_bytes(raw)
        assert isinstance(read_outcome_file(path), InvalidOutcome)


OUTCOMES = st.fixed_dictionaries(
    {"status": st.sampled_from(["completed", "failed", "needs_human"]), "summary": st.text()},
    optional={
        "question": st.text(),
        "options": st.lists(st.text(), max_size=20),
        "handoff": st.text(),
        "x": st.integers(),
    },
)


@given(OUTCOMES)
def test_what_was_written_is_what_is_read(value: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcome.json"
        path.write_text(json.dumps(value))
        assert read_outcome_file(path) == parse_outcome(value)


def test_the_schema_names_what_the_contract_knows() -> None:
    example = {"status": "needs_human", "summary": "s", "handoff": "h", "question": "q", "options": ["o"]}
    example |= {"recommendation": "r", "no_change": "n", "checks": ["c"]}
    assert set(OUTCOME_SCHEMA["properties"]) == set(example)
    outcome = parse_outcome(example)
    assert isinstance(outcome, Outcome)
    assert not outcome.extra
