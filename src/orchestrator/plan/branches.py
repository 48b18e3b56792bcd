"""The branch that a plan names: `**Branch:**` above the first task, or the front matter."""

import re

from orchestrator.plan.diagnostics import finding
from orchestrator.plan.fields import Fields
from orchestrator.plan.front_matter import FrontMatter
from orchestrator.plan.model import Diagnostic
from orchestrator.plan.refnames import branch_problem
from orchestrator.plan.values import means_none, only_code

_PLACEHOLDER = re.compile(r"[<>{}\[\]…]|\.\.\.|^(?:tbd|tba|todo|xxx+)$", re.IGNORECASE)
_EMPHASIS = re.compile(r"^(\*\*|__|[*_\"'])(.+)\1$")
# What authors add to the name: `feature/x` from `main`, feature/x (from main).
_EXPLANATION = re.compile(
    r"(?<=\S)(?:,\s*|\s+)(?:\([^()]*\)|(?:from|off|based on)\s+[`*_]*[\w./-]+[`*_]*)\.?\s*$", re.IGNORECASE
)


def read_branch(front: FrontMatter, fields: Fields) -> tuple[str | None, list[Diagnostic]]:
    """The branch, and what is wrong with it. A value that is more than one name is refused, not shortened."""
    line, text = front.lines.get("branch", 1), front.values.get("branch", "")
    if not text:
        field = next((each for each in fields.of("branch") if each.value), None)
        line, text = (1, "") if field is None else (field.line, field.value)
    if means_none(text):
        return None, []
    value = _EXPLANATION.sub("", text).strip()
    name = only_code(value) or _EMPHASIS.sub(r"\2", value)
    if len(name.split()) != 1 or _PLACEHOLDER.search(name):
        problem: str | None = f"`{text[:60]}` is not the name of one branch"
    else:
        problem = branch_problem(name)
    return (name, []) if problem is None else (None, [finding("bad-branch", line, problem)])
