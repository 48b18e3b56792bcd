"""The machine is kept awake on mains power, by a program that ends with us."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.engine import keep_awake as module
from orchestrator.engine.keep_awake import is_on_mains, keep_awake


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


async def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, mains: bool = True) -> tuple[bool, bool]:
    """Whether the program ran inside, and after; it holds a lock file as long as it reads its input."""
    lock = tmp_path / "lock"
    hold = ("sh", "-c", f"touch {lock}; cat; rm {lock}")
    monkeypatch.setattr(module, "INHIBITORS", (("nosuchprogram-7",), hold))
    if not mains:
        supply(tmp_path / "power", "BAT0", "Battery")
    monkeypatch.setattr(module, "POWER_SUPPLIES", tmp_path / "power")
    async with keep_awake():
        for _ in range(100 if mains else 10):
            await asyncio.sleep(0.02)
            if lock.exists():
                break
        inside = lock.exists()
    return inside, lock.exists()


async def test_a_program_holds_the_machine_awake_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await held(tmp_path, monkeypatch) == (True, False)


async def test_on_battery_nothing_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await held(tmp_path, monkeypatch, mains=False) == (False, False)


@pytest.mark.parametrize("program", ["nosuchprogram-7", "false"])
async def test_a_machine_without_such_a_program_works_all_the_same(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INHIBITORS", ((program,),))
    async with keep_awake():
        pass
