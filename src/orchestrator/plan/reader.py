"""A plan's bytes to a Plan. Pure: the same bytes give the same plan, nothing is run or fetched."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from orchestrator.errors import PlanError
from orchestrator.plan.assembly import assemble_tasks
from orchestrator.plan.blocks import Document, read_blocks
from orchestrator.plan.diagnostics import finding
from orchestrator.plan.draft import Milestone
from orchestrator.plan.front_matter import read_front_matter
from orchestrator.plan.graph import find_cycles
from orchestrator.plan.headings import is_task_line
from orchestrator.plan.importers import (
    has_checkboxes,
    has_kiro_tasks,
    has_spec_kit_tasks,
    read_checklist,
    read_kiro,
    read_ralphex,
    read_spec_kit,
)
from orchestrator.plan.lists import Item, read_items
from orchestrator.plan.model import FORMATS, Diagnostic, Plan, Task
from orchestrator.plan.native import has_native_tasks, lists_steps, read_native
from orchestrator.plan.sections import name_tasks
from orchestrator.plan.skeleton import find_placeholders
from orchestrator.plan.task_master import looks_like_json, read_task_master
from orchestrator.plan.text import decode_plan
from orchestrator.plan.validation import (
    add_validation,
    find_missing_gate,
    find_unread_boxes,
    find_unread_commands,
    split_validation,
)

_MISSING = {
    "native": "no heading like `## Task 3.1: What to do`",
    "ralphex": "no heading like `### Task 1: What to do`",
    "spec-kit": "no item like `- [ ] T012 What to do`",
    "kiro": "no item like `- [ ] 2.1 What to do`",
    "checklist": "no item like `- [ ] What to do` that is not indented",
    "task-master": 'no JSON with `"tasks": [{"id": …}]`',
}
# Control characters, and marks that turn the direction of text: an editor with such a text shows another plan
# than the one that is read.
_HIDDEN = re.compile("[\\x01-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")
_MOST_HIDDEN = 20
_LONGEST_PATH = 30


def read_plan(data: bytes | str, *, path: str, format: str | None = None) -> Plan:
    """Read a plan; `path` only names it in the result and in errors. `format` is one of FORMATS and forces
    it.

    Raises PlanError if the data cannot be read as a plan at all, or has no task. Every other problem is one
    of the plan's diagnostics.
    """
    text = decode_plan(data, path=path)
    if format not in (None, *FORMATS):
        known = ", ".join(FORMATS)
        raise PlanError(f"`{format}` is not a plan format", where=path, hint=f"Use one of: {known}.")
    if format == "task-master" or (format is None and looks_like_json(text)):
        name, milestone = "task-master", read_task_master(text, path)
    else:
        name, milestone = _read_markdown(text, path, format)
    if not milestone.drafts:
        raise _no_task_error(path, [name], milestone.diagnostics)
    return _build_plan(milestone, text, path, name)


def _read_markdown(text: str, path: str, format: str | None) -> tuple[str, Milestone]:
    lines = text.split("\n")
    front = read_front_matter(lines)
    whole = read_blocks("\n" * front.length + "\n".join(lines[front.length :]), is_task_line)
    document, validation, dropped = split_validation(whole)
    is_milestone = format is None and has_native_tasks(document)
    items = [] if is_milestone or format in ("native", "ralphex") else read_items(document)
    name = format or _recognise_format(document, items, has_validation=validation is not None)
    if name in ("native", "ralphex") and not has_native_tasks(document):
        document = name_tasks(document) or document
    match name:
        case "native":
            milestone = read_native(document, front)
        case "spec-kit":
            milestone = read_spec_kit(document, items, front, path)
        case "kiro":
            milestone = read_kiro(document, items, front)
        case "ralphex":
            milestone = read_ralphex(document, front)
        case "checklist":
            milestone = read_checklist(document, items, front)
        case _:
            raise _no_task_error(path, [*_MISSING])
    unread = [
        *find_unread_boxes(document, milestone, is_kiro=name == "kiro"),
        *find_unread_commands(document, milestone),
    ]
    milestone = add_validation(milestone, validation)
    return name, replace(milestone, diagnostics=(*milestone.diagnostics, *dropped, *unread))


def _recognise_format(document: Document, items: Sequence[Item], *, has_validation: bool) -> str | None:
    if has_native_tasks(document):
        return "ralphex" if has_validation or lists_steps(document) else "native"
    if has_spec_kit_tasks(items):
        return "spec-kit"
    if name_tasks(document) is not None:
        return "ralphex"
    if has_kiro_tasks(items):
        return "kiro"
    return "checklist" if has_checkboxes(items) else None


def _no_task_error(path: str, tried: list[str], diagnostics: Sequence[Diagnostic] = ()) -> PlanError:
    """The first error of the plan if there is one, because it is the reason why no task was found."""
    for found in diagnostics:
        if found.severity == "error":
            return PlanError(found.message, where=f"{path}:{found.line}", hint=found.hint)
    missing = "; ".join(f"{name}: {_MISSING[name]}" for name in tried)
    hint = f"Tried {missing}. `orchestrator plan new TITLE` writes a plan to start from."
    return PlanError("the plan has no task", where=path, hint=hint)


def _build_plan(milestone: Milestone, text: str, path: str, format: str) -> Plan:
    tasks, findings = assemble_tasks(milestone)
    if not tasks:
        hint = "`orchestrator plan new TITLE` writes a plan to start from."
        raise PlanError("every task of the plan is left out", where=path, hint=hint)
    gates = find_missing_gate(milestone)
    findings += [entry for entry in milestone.diagnostics if not (gates and entry.code == "no-verify")]
    about_text = (*_find_hidden_characters(text), *_placeholder_findings(text))
    # Two tasks of one id can make a cycle that is not in the plan.
    cycles = () if any(entry.code == "duplicate-id" for entry in findings) else _cycle_findings(tasks)
    all_findings = [*findings, *gates, *cycles, *about_text]
    return Plan(
        path=path,
        format=format,
        id=milestone.id,
        title=milestone.title or _stem(path),
        branch=milestone.branch,
        goal=milestone.goal,
        tasks=tasks,
        end_to_end=milestone.end_to_end,
        diagnostics=tuple(sorted(all_findings, key=lambda entry: (entry.line, entry.code))),
    )


def _cycle_findings(tasks: tuple[Task, ...]) -> Iterator[Diagnostic]:
    lines = {task.id: task.lines.first for task in tasks}
    for path in find_cycles(tasks):
        shown = path if len(path) <= _LONGEST_PATH else (*path[: _LONGEST_PATH - 2], "…", path[-1])
        yield finding("dependency-cycle", lines[path[0]], "tasks wait for each other: " + " → ".join(shown))


def _placeholder_findings(text: str) -> Iterator[Diagnostic]:
    for line, placeholder in find_placeholders(text):
        yield finding("placeholder", line, f"`{placeholder}` has not been replaced")


def _find_hidden_characters(text: str) -> Iterator[Diagnostic]:
    line, at = 1, 0
    for number, match in enumerate(_HIDDEN.finditer(text)):
        if number == _MOST_HIDDEN:
            return
        line += text.count("\n", at, match.start())
        at = match.start()
        yield finding("hidden-character", line, f"the character U+{ord(match[0]):04X} is not shown")


def _stem(path: str) -> str:
    name = path.rstrip("/").rpartition("/")[2]
    return name.rpartition(".")[0] or name
