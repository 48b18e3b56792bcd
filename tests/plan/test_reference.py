"""The pages about plans say what the reader does: every example is read."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.plan_command import as_json
from orchestrator.plan.diagnostics import RULES
from orchestrator.plan.model import FORMATS
from orchestrator.plan.reader import read_plan

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "plan-diagnostics.md").read_text("utf-8")
FORMAT_PAGE = (DOCS / "plan-format.md").read_text("utf-8")
ENTRY = re.compile(
    r"^## (?P<code>[a-z0-9-]+)\n\n\*\*(?P<severity>\w+)\*\*: [^\n]+\n\n> (?P<hint>[^\n]+)\n\n"
    r"````(?:markdown|json)\n(?P<example>.*?)\n````$",
    re.MULTILINE | re.DOTALL,
)
ENTRIES = {match["code"]: match for match in ENTRY.finditer(REFERENCE)}


def test_every_code_is_in_the_reference_and_no_other() -> None:
    assert sorted(ENTRIES) == sorted(RULES)
    without_examples = re.sub(r"^````.*?^````$", "", REFERENCE, flags=re.MULTILINE | re.DOTALL)
    assert sorted(re.findall(r"^## (.*)$", without_examples, re.MULTILINE)) == sorted(RULES)


@pytest.mark.parametrize("code", sorted(RULES))
def test_the_example_provokes_the_diagnostic(code: str) -> None:
    entry = ENTRIES[code]
    plan = read_plan(entry["example"].replace("\\u202e", "\u202e") + "\n", path="plan.md")
    found = [diagnostic for diagnostic in plan.diagnostics if diagnostic.code == code]
    assert found
    assert (found[0].severity, found[0].hint) == (entry["severity"], entry["hint"])
    assert found[0].message


def block(language: str) -> str:
    match = re.search(rf"^````{language}\n(.*?)\n````$", FORMAT_PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None
    return match[1] + "\n"


def test_the_plan_on_the_format_page_has_nothing_to_report() -> None:
    plan = read_plan(block("markdown"), path="plan.md")
    assert [task.id for task in plan.tasks] == ["3.1", "3.2"]
    assert plan.diagnostics == ()


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items()}
    return [shape(entry) for entry in value[:1]] if isinstance(value, list) else None


def test_the_json_on_the_format_page_is_that_plan() -> None:
    shown = json.loads(block("json"))
    real = as_json(read_plan(block("markdown").replace("nothing", "2.4"), path="plan.md"))
    assert shape(shown) == shape(real)
    for key in ("id", "title", "branch", "goal", "format"):
        assert shown[key] == real[key]
    for key in ("id", "title", "files", "acceptance", "verify", "estimate_minutes", "lines"):
        assert shown["tasks"][0][key] == real["tasks"][0][key]
    assert shown["e2e"]["lines"] == real["e2e"]["lines"]


def test_every_format_is_on_the_format_page() -> None:
    assert [name for name in FORMATS if f"| `{name}` |" not in FORMAT_PAGE] == []
