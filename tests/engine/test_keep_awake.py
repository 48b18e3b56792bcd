"""The machine is kept awake on mains power, by a program that ends with us."""

from pathlib import Path

import pytest

from orchestrator.engine import keep_awake as module
from orchestrator.engine.keep_awake import is_on_mains, keep_awake
from orchestrator.run.facts import Sleep


def supply(folder: Path, name: str, kind: str, online: str = "") -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "type").write_text(f"{kind}\n")
    if online:
        (folder / name / "online").write_text(f"{online}\n")


@pytest.mark.parametrize(
    ("supplies", "mains"),
    [
        pytest.param((), True, id="a machine without a battery"),
        pytest.param((("BAT0", "Battery", ""), ("AC", "Mains", "1")), True, id="plugged in"),
        pytest.param((("BAT0", "Battery", ""), ("AC", "Mains", "0")), False, id="on battery"),
        pytest.param((("BAT0", "Battery", ""), ("ucsi", "USB", "1")), True, id="by USB"),
        pytest.param((("BAT0", "Battery", ""),), False, id="only a battery"),
    ],
)
def test_mains_power(tmp_path: Path, supplies: tuple[tuple[str, str, str], ...], mains: bool) -> None:
    for each in supplies:
        supply(tmp_path, *each)
    assert is_on_mains(tmp_path) == mains
    assert is_on_mains(tmp_path / "absent")


async def hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, program: str = "echo held", mains: bool = True
) -> tuple[Sleep, bool, bool]:
    """The notes, and whether the program ran while the sleep was held, and afterwards.

    The program holds a lock file as long as it reads its input; `nosuchprogram-7` does not exist.
    """
    lock = tmp_path / "lock"
    argv = ("sh", "-c", f"touch {lock}; {program}; cat; rm {lock}")
    monkeypatch.setattr(module, "INHIBITORS", (("nosuchprogram-7",), argv))
    if not mains:
        supply(tmp_path / "power", "BAT0", "Battery")
    monkeypatch.setattr(module, "POWER_SUPPLIES", tmp_path / "power")
    async with keep_awake() as sleep:
        inside = lock.exists()
    return sleep, inside, lock.exists()


async def test_a_program_holds_the_machine_awake_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await hold(tmp_path, monkeypatch) == ("kept_awake", True, False)


async def test_on_battery_nothing_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await hold(tmp_path, monkeypatch, mains=False) == ("on_battery", False, False)


@pytest.mark.parametrize("program", ["exit 1", "exec sleep 60"], ids=["fails", "hangs"])
async def test_a_program_that_cannot_hold_the_machine_awake_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """As systemd-inhibit where no bus answers."""
    monkeypatch.setattr(module, "START_SECONDS", 0.3)
    sleep, _, _ = await hold(tmp_path, monkeypatch, program=program)
    assert sleep == "no_program"


async def test_a_machine_without_such_a_program_works_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INHIBITORS", (("nosuchprogram-7",),))
    async with keep_awake() as sleep:
        assert sleep == "no_program"


@pytest.mark.parametrize("argv", module.INHIBITORS, ids=lambda argv: argv[0])
def test_each_program_runs_a_command_that_says_when_it_holds(argv: tuple[str, ...]) -> None:
    assert argv[-3:] == ("sh", "-c", "echo held; exec cat")
