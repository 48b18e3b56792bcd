"""The reference and the example are in step with the code."""

import shutil
import tomllib
from pathlib import Path

from orchestrator.config import MountSetting
from orchestrator.config.reference import render
from orchestrator.config.settings import TABLE

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date():
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert page == render(), "run: python -m orchestrator.config.reference > docs/configuration.md"


def rows():
    return [line for line in render().splitlines() if line.startswith("| `")]


def test_page_has_a_row_for_every_setting():
    assert [row.split("`")[1] for row in rows()] == [key.rpartition(".")[2] for key in TABLE]


def test_example_is_good_as_the_users_file(place):
    shutil.copy(ROOT / "examples/ktrdr/orchestrator.toml", place.user_file)
    mounts = place.load().settings.mounts
    assert mounts == (
        MountSetting(source="coding-agent-claude-credentials", target="/home/agent/.claude"),
        MountSetting(source="coding-agent-models", target="/env/models"),
        MountSetting(source="coding-agent-strategies", target="/env/strategies"),
        MountSetting(source="coding-agent-logs", target="/env/logs"),
        MountSetting(
            source=f"{place.home}/Documents/ktrdr-shared/data", target="/shared/data", read_only=True
        ),
    )


def test_defaults_of_the_page_are_toml_values():
    for setting, row in zip(TABLE.values(), rows(), strict=True):
        if setting.written is not None:
            assert tomllib.loads(f"x = {row.split('`')[3]}")["x"] == setting.written
