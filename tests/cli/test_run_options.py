"""Options of `run` that are refused before anything is read or made."""

from pathlib import Path

import pytest

from orchestrator.cli.main import main

PAST = "2020-01-31T07:00"


@pytest.mark.parametrize("command", [["run", "plan.md"], ["task", "plan.md", "1"], ["resume"]], ids=" ".join)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--at", PAST], "--at '2020-01-31T07:00': the time is in the past"),
        (["--until", PAST], "--until '2020-01-31T07:00': the time is in the past"),
        (["--at", "8h"], "--at '8h': cannot be read as a time"),
        (["--until", "24:61"], "--until '24:61': such a time of day does not exist"),
        (["--wait", "--no-input"], "--wait cannot be combined with --no-input"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_time_or_pair_is_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    options: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert main([*command, *options]) == 2
    out, errors = capsys.readouterr()
    assert out == "" and errors.startswith(f"error: {said}")
    assert not (tmp_path / "state").exists()
