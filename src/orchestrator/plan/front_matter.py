"""The `key: value` lines between two `---` at the top of a plan. Not YAML: text is all that is needed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.plan.diagnostics import finding
from orchestrator.plan.model import Diagnostic

KNOWN = ("id", "title", "branch", "builds_on", "goal", "design", "architecture")

_KEY = re.compile(r"(?P<key>[A-Za-z][\w -]{0,60}?)\s*:(?:\s+(?P<value>.*))?")
_LONGEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontMatter:
    values: Mapping[str, str]
    length: int
    """Lines it takes, its two rules included; 0 when there is none."""
    lines: Mapping[str, int] = field(default_factory=dict)
    """The line of each value."""
    diagnostics: tuple[Diagnostic, ...] = ()


def read_front_matter(lines: list[str]) -> FrontMatter:
    if not lines or lines[0].rstrip() != "---":
        return FrontMatter(values={}, length=0)
    ends = (n for n, line in enumerate(lines[1 : _LONGEST + 1], 1) if line.rstrip() in ("---", "..."))
    end = next(ends, None)
    looks_like_it = len(lines) > 1 and _KEY.fullmatch(lines[1].rstrip()) is not None
    if end is None or not (looks_like_it or end == 1):
        message = "the front matter that starts here is not closed"
        findings = (finding("bad-front-matter", 1, message),) if looks_like_it else ()
        return FrontMatter(values={}, length=0, diagnostics=findings)
    return _read_entries(lines[1:end], end + 1)


def _read_entries(lines: list[str], length: int) -> FrontMatter:
    values: dict[str, str] = {}
    places: dict[str, int] = {}
    findings = []
    for number, line in enumerate(lines, 2):
        if not line.strip() or line.startswith((" ", "\t", "#", "- ")):
            continue
        match = _KEY.fullmatch(line.rstrip())
        if match is None:
            findings.append(finding("bad-front-matter", number, f"`{line.strip()[:40]}` is not `key: value`"))
            continue
        key = match["key"].lower().replace("-", "_").replace(" ", "_")
        if key not in KNOWN:
            findings.append(finding("unknown-front-matter", number, f"`{match['key']}` is not a known key"))
        places.setdefault(key, number)
        values.setdefault(key, (match["value"] or "").strip().strip("\"'"))
    return FrontMatter(values=values, length=length, lines=places, diagnostics=tuple(findings))
