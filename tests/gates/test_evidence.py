"""Evidence is stored whole, by rename, and evidence of any bytes can be hashed and quoted."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gates.evidence import TAIL_CHARACTERS, Evidence, digest, load, store, tail
from orchestrator.stored_output import compress_file


def evidence(**changes: object) -> Evidence:
    given: dict[str, object] = {
        "id": "e1",
        "gate": "verify-1",
        "command": "make",
        "candidate": "c",
        "image": "sha256:1",
        "container": "ktrdr-gate-1",
        "verdict": "pass",
        "exit_code": 0,
        "seconds": 0.1,
        "output_sha256": "0" * 64,
        "detail": "",
    }
    return Evidence(**(given | changes))  # type: ignore[arg-type]


@given(st.text())
def test_the_hash_is_that_of_the_stored_bytes(tmp_path_factory: pytest.TempPathFactory, output: str) -> None:
    folder = tmp_path_factory.mktemp("evidence")
    store(folder, evidence(), output)
    assert hashlib.sha256((folder / "e1" / "output").read_bytes()).hexdigest() == digest(output)


def test_storing_again_replaces_the_evidence(tmp_path: Path) -> None:
    store(tmp_path, evidence(), "first and long")
    store(tmp_path, evidence(verdict="fail"), "second")
    assert (tmp_path / "e1" / "output").read_text() == "second"
    assert sorted(path.name for path in (tmp_path / "e1").iterdir()) == ["gate.json", "output"]


def test_only_its_owner_can_read_evidence(tmp_path: Path) -> None:
    store(tmp_path / "evidence", evidence(), "x")
    assert (tmp_path / "evidence" / "e1").stat().st_mode & 0o777 == 0o700


def test_the_tail_is_the_end_of_the_output_without_control_codes() -> None:
    assert tail("a" * TAIL_CHARACTERS + "\x1b[31mend\n") == "a" * (TAIL_CHARACTERS - 4) + "end\n"


@pytest.mark.parametrize("inside", range(6))
def test_a_tail_never_begins_inside_an_escape_sequence(inside: int) -> None:
    assert tail("\x1b[31m" + "b" * (TAIL_CHARACTERS - inside)) == "b" * (TAIL_CHARACTERS - inside)


def test_a_compressed_output_is_loaded_and_one_that_is_damaged_or_too_large_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = "a line\r\nof the tests\n" * 1000
    store(tmp_path, evidence(), output)
    compress_file(tmp_path / "e1" / "output")
    found = load(tmp_path, "e1")
    assert found is not None and digest(found.output) == digest(output)
    monkeypatch.setattr("orchestrator.gates.evidence.LOADED_BYTES", 100)
    assert load(tmp_path, "e1") is None
    monkeypatch.undo()
    packed = tmp_path / "e1" / "output.gz"
    packed.write_bytes(packed.read_bytes()[:-9])
    assert load(tmp_path, "e1") is None
