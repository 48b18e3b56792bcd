"""A plan's bytes to a Plan. Pure: the same bytes give the same plan, nothing is run or fetched."""

import re
from collections.abc import Iterator

from orchestrator.errors import PlanError
from orchestrator.plan.blocks import read_blocks
from orchestrator.plan.diagnostics import finding
from orchestrator.plan.draft import Milestone, assembled
from orchestrator.plan.front_matter import read_front_matter
from orchestrator.plan.graph import cycles
from orchestrator.plan.headings import is_task_line
from orchestrator.plan.model import Diagnostic, Plan, Task
from orchestrator.plan.native import read_native
from orchestrator.plan.refnames import branch_problem
from orchestrator.plan.text import decoded

_HIDDEN = re.compile("[\\x01-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")
_MOST_HIDDEN = 20


def read_plan(data: bytes | str, *, path: str, format: str | None = None) -> Plan:
    """Read a plan; `path` only names it in the result and in errors. `format` forces a reader.

    Raises PlanError for what cannot be read as a plan at all, or holds no task; everything else that is
    wrong with a plan is one of its diagnostics.
    """
    text = decoded(data, path=path)
    milestone = _native(text)
    if not milestone.drafts:
        hint = "A task is a heading: ## Task 3.1: What to do"
        raise PlanError("the plan holds no task", where=path, hint=hint)
    return _plan(milestone, text, path, "native")


def _native(text: str) -> Milestone:
    lines = text.split("\n")
    front = read_front_matter(lines)
    body = "\n" * front.length + "\n".join(lines[front.length :])
    return read_native(read_blocks(body, is_task_line), front)


def _plan(milestone: Milestone, text: str, path: str, format: str) -> Plan:
    tasks, findings = assembled(milestone.drafts)
    problem = None if milestone.branch is None else branch_problem(milestone.branch)
    if problem is not None:
        findings.append(finding("bad-branch", _line_of(text, milestone.branch), problem))
    all_findings = [*milestone.diagnostics, *findings, *_cycle_findings(tasks), *_hidden(text)]
    return Plan(
        path=path,
        format=format,
        id=milestone.id,
        title=milestone.title,
        branch=None if problem else milestone.branch,
        builds_on=milestone.builds_on,
        goal=milestone.goal,
        tasks=tasks,
        end_to_end=milestone.end_to_end,
        diagnostics=tuple(sorted(all_findings, key=lambda entry: (entry.line, entry.code))),
    )


def _cycle_findings(tasks: tuple[Task, ...]) -> Iterator[Diagnostic]:
    lines = {task.id: task.lines.first for task in tasks}
    for path in cycles(tasks):
        yield finding("dependency-cycle", lines[path[0]], "tasks wait for each other: " + " → ".join(path))


def _hidden(text: str) -> Iterator[Diagnostic]:
    line, at = 1, 0
    for number, match in enumerate(_HIDDEN.finditer(text)):
        if number == _MOST_HIDDEN:
            return
        line += text.count("\n", at, match.start())
        at = match.start()
        yield finding("hidden-character", line, f"the character U+{ord(match[0]):04X} is not shown")


def _line_of(text: str, value: str | None) -> int:
    at = -1 if value is None else text.find(value)
    return 1 if at < 0 else text.count("\n", 0, at) + 1
