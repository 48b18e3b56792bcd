"""A plan of ten tasks for a whole night, and what the page about nights shows of it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STORED = ROOT / "tests" / "e2e" / "sessions" / "a-night.txt"
"""The night in real containers, as it was printed."""

NIGHT = {
    "1": ("Define the records", "nothing"),
    "2": ("Read old files", "1"),
    "3": ("Write new files", "2"),
    "4": ("Convert old files", "3"),
    "5": ("Serve records", "nothing"),
    "6": ("Log users in", "5"),
    "7": ("Keep sessions", "6"),
    "8": ("Show records", "5"),
    "9": ("Write the manual", "nothing"),
    "10": ("Build a package", "1"),
}
"""Two branches of dependencies, and two tasks beside them."""


def night_plan() -> str:
    tasks = [
        f"## Task {id}: {title}\n**Type:** CODING\n**Depends on:** {after}\n**Description:**\n{title}.\n"
        f"**Acceptance Criteria:**\n- [ ] done\n**Verify:**\n```bash\nsh check.sh {id}\n```\n"
        for id, (title, after) in NIGHT.items()
    ]
    return "# Milestone 2: The archive\n\n**Branch:** `archive`\n\n" + "\n".join(tasks)


def list_shown() -> list[str]:
    """The pieces of output that the page shows, without the commands; each is several lines as they are."""
    page = (ROOT / "docs" / "overnight.md").read_text("utf-8")
    blocks = re.findall(r"```text\n(\$.*?)```", page, re.DOTALL)
    parts = (re.split(r"^(?:\$.*|…)\n", block, flags=re.MULTILINE) for block in blocks)
    return [part for each in parts for part in each if part]
