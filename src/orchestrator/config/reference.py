"""Writes the reference of all settings: `python -m orchestrator.config.reference > docs/configuration.md`."""

import json
from importlib.resources import files

from orchestrator.config.settings import SECTIONS, TABLE, Setting

_WHEN = {
    "never": "yes",
    "always": "with approval",
    "above the default": "up to the default; above it with approval",
    "below the default": "from the default upwards; below it with approval",
    "weaker than the default": "what is not weaker than the default; else with approval",
    "outside the folder": "inside the code folder; outside with approval",
    "steers programs": "ordinary names; names that steer programs (`PATH`, `LD_PRELOAD`, …) with approval",
}


def render() -> str:
    """The page as Markdown."""
    introduction = (files(__package__) / "reference.md").read_text(encoding="utf-8")
    return introduction + "".join(
        _section(name) for name in dict.fromkeys(key.partition(".")[0] for key in TABLE)
    )


def _section(name: str) -> str:
    rows = [setting for key, setting in TABLE.items() if key.partition(".")[0] == name]
    title = f"`[{name}]`" if name in SECTIONS else f"`[[{name}]]`"
    head = ["| key | default | value | meaning | in the repository's file |", "|---|---|---|---|---|"]
    whens = {"always": "needs approval"}
    reasons = [
        f"- `{row.key}`: {whens.get(row.trust.when, f'needs approval {row.trust.when}')} "
        f"in the repository's file, because {row.trust.reason}."
        for row in rows
        if row.trust.when != "never"
    ]
    return "\n".join(
        ["", f"## {title}", "", *head, *map(_row, rows), *([""] if reasons else []), *reasons, ""]
    )


def _row(setting: Setting) -> str:
    cells = [
        f"`{setting.key.rpartition('.')[2]}`",
        "none" if setting.written is None else f"`{json.dumps(setting.written)}`",
        setting.kind.text,
        setting.text,
        _WHEN[setting.trust.when],
    ]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


if __name__ == "__main__":
    print(render(), end="")
