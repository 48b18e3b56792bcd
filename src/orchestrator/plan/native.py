"""The milestone plan: headings that say "Task 3.1", with labelled fields under them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator.plan.blocks import Block, Document
from orchestrator.plan.boxes import may_have_box, read_box
from orchestrator.plan.branches import read_branch
from orchestrator.plan.commands import find_unused_commands, read_commands
from orchestrator.plan.diagnostics import LIST_IN_FENCE, finding
from orchestrator.plan.draft import Draft, Milestone
from orchestrator.plan.fields import Fields, Meaning, meaning_of, read_fields
from orchestrator.plan.front_matter import FrontMatter
from orchestrator.plan.headings import (
    NearMiss,
    TaskHeading,
    is_task_line,
    milestone_id,
    opens_end_to_end,
    task_heading,
)
from orchestrator.plan.model import Criterion, Diagnostic, EndToEnd, Span, TaskType
from orchestrator.plan.states import decide_state, section_left_out
from orchestrator.plan.values import (
    Reference,
    checkboxes,
    criteria,
    file_names,
    means_none,
    minutes,
    references_of,
    task_type,
)

_TASK_AND_COLON = re.compile(r"\W{0,9}task\s[^:\n]{1,300}:", re.IGNORECASE)
_MILESTONE_LABEL = re.compile(
    r"^\W{0,9}(?:acceptance criteria|success criteria|verify|verification|(?:task )?type|status|depends on"
    r"|estimated time|description)\W{0,3}(?::|$)",
    re.IGNORECASE | re.MULTILINE,
)
_TASK_LINE = re.compile(r"^(?:- )?task\s+\d{1,4}(?:\.\d{1,4})?:.*", re.IGNORECASE | re.MULTILINE)
_CRITERIA = re.compile(r"^\W{0,9}acceptance criteria\b", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and the blocks under it, up to the next heading that ends it."""

    heading: Block
    task: TaskHeading | None
    blocks: tuple[Block, ...]
    left_out: str = ""
    """Why a heading around it leaves it out; empty: none does."""


def read_native(document: Document, front: FrontMatter) -> Milestone:
    sections = _split_sections(document)
    tasks = [section for section in sections if section.task is not None]
    end_to_end = [s for s in sections if s.task is None and opens_end_to_end(s.heading.text, s.heading.level)]
    if tasks and not end_to_end:
        sections, tasks, end_to_end = _split_off_scenario(document, sections, tasks)
    drafts, findings = _read_drafts(document, tasks)
    scenario, about_scenario = _read_end_to_end(document, end_to_end)
    findings = [*document.diagnostics, *findings, *about_scenario]
    fields = read_fields(document, _preamble(document))
    title = front.values.get("title") or document_title(document)
    branch, about_branch = read_branch(front, fields)
    return Milestone(
        id=front.values.get("id") or milestone_id(title),
        title=title,
        branch=branch,
        goal=_goal_under_heading(document, sections) or fields.text("goal") or front.values.get("goal", ""),
        drafts=tuple(drafts),
        end_to_end=scenario,
        diagnostics=(*front.diagnostics, *findings, *about_branch),
    )


def has_native_tasks(document: Document) -> bool:
    """Whether the document writes its tasks as headings.

    Headings with an invalid id count, too: the checkboxes below them are criteria, not a list of tasks. So
    does "Task" with any word before a colon, if the document has acceptance criteria.
    """
    headings = [block for block in document.blocks if block.kind == "heading"]
    if any(_means_a_task(task_heading(block.text, block.level)) for block in headings):
        return True
    return any(_TASK_AND_COLON.match(block.text) for block in headings) and any(
        _CRITERIA.search(block.text) for block in document.blocks if block.kind != "fence"
    )


def lists_steps(document: Document) -> bool:
    """Whether the tasks are lists of boxes without the labels of a milestone plan.

    The ticks of such a list say what is done.
    """
    if any(b.kind != "fence" and _MILESTONE_LABEL.search(b.text) for b in document.blocks):
        return False
    tasks = [section for section in _split_sections(document) if section.task is not None]
    boxed = sum(any(map(_has_box, section.blocks)) for section in tasks)
    return 2 * boxed > len(tasks)


def _has_box(block: Block) -> bool:
    lines = block.text.split("\n") if block.kind == "text" and may_have_box(block.text) else []
    return any(read_box(0, line) is not None for line in lines)


def _means_a_task(found: TaskHeading | NearMiss | None) -> bool:
    return isinstance(found, TaskHeading) or (isinstance(found, NearMiss) and found.code == "bad-task-id")


def _read_drafts(document: Document, sections: Sequence[Section]) -> tuple[list[Draft], list[Diagnostic]]:
    findings = list(_heading_findings(document))
    about: list[tuple[Draft, tuple[Diagnostic, ...]]] = []
    levels: dict[str, int] = {}
    for section in sections:
        assert section.task is not None
        around = section.task.id.rpartition(".")[0]
        is_part = levels.get(around, section.heading.level) < section.heading.level
        draft, about_task = _read_task(document, section, parent=around if is_part else None)
        if section.left_out and not (draft.done or draft.left_out):
            draft = replace(draft, left_out=section.left_out)
        about.append((draft, about_task))
        levels[section.task.id] = section.heading.level
    parents = {draft.parent for draft, _ in about}
    left_out: set[str | None] = set()
    for draft, about_task in about:
        if draft.left_out or draft.parent in left_out:
            left_out.add(draft.id)
        elif not (draft.only_title and draft.id in parents):  # a title over its parts needs nothing else
            findings += about_task
    return [draft for draft, _ in about], findings


def _split_sections(document: Document) -> list[Section]:
    """Sections in order.

    A task or scenario includes its sub-headings; every other heading is its own section.
    """
    starts = [number for number, block in enumerate(document.blocks) if block.kind == "heading"]
    ends = [*starts[1:], len(document.blocks)]
    sections: list[Section] = []
    at = 0
    outside: Block | None = None
    while at < len(starts):
        heading = document.blocks[starts[at]]
        if outside is not None and heading.level <= outside.level:
            outside = None
        found = task_heading(heading.text, heading.level)
        task = found if isinstance(found, TaskHeading) else None
        last = at
        if task is not None or opens_end_to_end(heading.text, heading.level):
            while last + 1 < len(starts) and _belongs(document.blocks[starts[last + 1]], heading, task):
                last += 1
        blocks = document.blocks[starts[at] + 1 : ends[last]]
        is_title = at == 0 and heading.level == 1
        if outside is None and task is None and not is_title and section_left_out(heading.text):
            outside = heading
        left_out = "" if outside is None else section_left_out(outside.text)
        sections.append(Section(heading=heading, task=task, blocks=blocks, left_out=left_out))
        at = last + 1
    return sections


def _belongs(block: Block, heading: Block, task: TaskHeading | None) -> bool:
    """Whether a heading is a sub-heading of a section: deeper, and not the start of another task."""
    if block.level <= heading.level:
        return False
    found = task_heading(block.text, block.level)
    return not isinstance(found, TaskHeading) or (task is not None and found.id == task.id)


def _split_off_scenario(
    document: Document, sections: list[Section], tasks: list[Section]
) -> tuple[list[Section], list[Section], list[Section]]:
    """A scenario under the last task belongs to the milestone, unless validating it is that task's work."""
    last = tasks[-1]
    at = next(
        (n for n, b in enumerate(last.blocks) if b.kind == "heading" and opens_end_to_end(b.text, b.level)),
        None,
    )
    if at is None or _type(read_fields(document, last.blocks[:at])) in ("VALIDATION", "VERIFICATION"):
        return sections, tasks, []
    heading, rest = last.blocks[at], last.blocks[at + 1 :]
    ends = (n for n, b in enumerate(rest) if b.kind == "heading" and b.level <= heading.level)
    length = next(ends, len(rest))
    scenario = Section(heading=heading, task=None, blocks=rest[:length])
    kept = replace(last, blocks=last.blocks[:at])
    changed = [kept if section is last else section for section in sections]
    return [*changed, scenario], [*tasks[:-1], kept], [scenario]


def _read_task(
    document: Document, section: Section, *, parent: str | None
) -> tuple[Draft, tuple[Diagnostic, ...]]:
    """A task, and the findings about it. `parent` is the task whose part it is: 3 of 3.1."""
    assert section.task is not None
    fields = read_fields(document, section.blocks)
    id, line = section.task.id, section.heading.first
    span = _span(section)
    verify = read_commands(fields.of("verify"), whose=f"task {id}")
    smoke = read_commands(fields.of("smoke"), whose=f"task {id}, smoke test")
    depends, unreadable = _read_dependencies(fields, id)
    state = decide_state(section.task.said, fields.text("status"), where="heading")
    draft = Draft(
        id=id,
        title=section.task.title,
        lines=span,
        section=document.verbatim(span.first, span.last),
        depends=depends,
        type=_type(fields),
        files=file_names([line for field in fields.of("files") for line in field.lines]),
        acceptance=_read_acceptance(fields),
        verify=verify.commands,
        smoke_tests=smoke.commands,
        estimate_minutes=minutes(fields.text("estimate")),
        done=state.done,
        left_out=state.left_out,
        parent=parent,
        only_title=all(block.kind == "rule" for block in section.blocks),
        boxes=_read_boxes(fields),
    )
    if draft.left_out:
        return draft, ()
    unclear = [finding("unread-state", line, f"task {id}: {state.unclear}")] if state.unclear else []
    missing = _find_missing(draft, fields, line)
    unused = find_unused_commands(fields.all, whose=f"task {id}")
    return draft, (*missing, *unclear, *unreadable, *verify.diagnostics, *smoke.diagnostics, *unused)


def _span(section: Section) -> Span:
    """The lines of a section, without the blank lines and the rule that separate it from the next one."""
    blocks = [section.heading, *section.blocks]
    while blocks[-1].kind == "rule":
        blocks.pop()
    return Span(first=section.heading.first, last=blocks[-1].last)


def _find_missing(draft: Draft, fields: Fields, line: int) -> list[Diagnostic]:
    findings = []
    type_text = fields.text("type")
    if type_text and draft.type is None:
        findings.append(
            finding("unknown-type", line, f"task {draft.id}: `{type_text[:40]}` is not a known type")
        )
    has_text = any(field.value or field.fences for field in fields.of("text", "description", "goal"))
    has_steps = any(True for field in fields.of("other") for _ in checkboxes(field.lines))
    if not (has_text or has_steps):
        findings.append(finding("empty-description", line, f"task {draft.id} has no description"))
    if not draft.acceptance:
        findings.append(finding("no-acceptance", line, f"task {draft.id} has no acceptance criteria"))
    if not draft.verify and draft.type != "RESEARCH":
        findings.append(finding("no-verify", line, f"task {draft.id} has no verify command"))
    return findings


def _type(fields: Fields) -> TaskType | None:
    return task_type(fields.text("type"))


def _read_dependencies(
    fields: Fields, id: str
) -> tuple[tuple[Reference, ...] | None, tuple[Diagnostic, ...]]:
    """The tasks that a task names as its dependencies; None if it has no such field or it is unreadable."""
    said = [field for field in fields.of("depends", "prerequisites", "builds_on") if field.value]
    if not said:
        return None, ()
    found = references_of(said)
    plainly = [field for field in said if field.meaning == "depends"]
    alone = plainly or [field for field in said if len(field.value.split()) == 1]
    if found or (alone and all(means_none(field.value) for field in alone)):
        return tuple(found), ()
    if any(field.meaning == "depends" and "milestone" not in field.value.lower() for field in said):
        message = f"task {id} has a dependency field that names no task"
        return None, (finding("unreadable-dependency", said[0].line, message),)
    return None, ()


_NO_CRITERIA: tuple[Meaning, ...] = ("verify", "smoke", "categories")


def _read_acceptance(fields: Fields) -> tuple[Criterion, ...]:
    """The items under acceptance criteria; if there is no such label, every box that is not a command."""
    labelled = fields.of("acceptance")
    if labelled:
        return tuple(entry for field in labelled for entry in criteria(field.lines))
    others = [field for field in fields.all if field.meaning not in _NO_CRITERIA]
    boxes = [box for field in others for box in checkboxes(field.lines)]
    return tuple(Criterion(text=box.text, done=box.done) for box in boxes)


def _read_boxes(fields: Fields) -> frozenset[int]:
    """The lines of all boxes that are criteria, commands or categories of the task."""
    read = fields.of("acceptance", "verify", "smoke", "categories") if fields.of("acceptance") else fields.all
    return frozenset(box.line for field in read for box in checkboxes(field.lines))


def _read_end_to_end(
    document: Document, sections: Sequence[Section]
) -> tuple[EndToEnd | None, list[Diagnostic]]:
    """The milestone's scenario: the first section with a command, else the first section."""
    if not sections:
        return None, []
    fields = ((section, read_fields(document, section.blocks).all) for section in sections)
    read = [(section, read_commands(entries, whose="E2E")) for section, entries in fields]
    section, commands = next((pair for pair in read if pair[1].commands), read[0])
    findings = list(commands.diagnostics)
    for other in sections:
        if other is not section:
            message = f"another end-to-end section; the one on line {section.heading.first} is used"
            findings.append(finding("several-e2e", other.heading.first, message))
    span = _span(section)
    text = document.verbatim(span.first, span.last)
    return EndToEnd(commands=commands.commands, text=text, lines=span), findings


def _heading_findings(document: Document) -> Iterator[Diagnostic]:
    for block in document.blocks:
        if block.kind == "heading":
            found = task_heading(block.text, block.level)
            if isinstance(found, NearMiss):
                yield finding(found.code, block.first, found.message)
            elif found is not None and found.several:
                message = f"the heading names more than one task; it is read as task {found.id}"
                yield finding("bad-task-id", block.first, message)
        elif (
            block.kind == "fence"
            and "ask " in block.text
            and len(lines := _TASK_LINE.findall(block.text)) > 1
        ):
            message = f"a fenced block has {len(lines)} lines like `{lines[0].strip()[:40]}`; none is a task"
            yield finding("task-in-fence", block.first, message, rule=LIST_IN_FENCE)
        elif block.kind == "fence" and "## " in block.text:
            for number, line in enumerate(block.text.split("\n"), block.first + 1):
                if is_task_line(line):
                    message = "a fenced block holds a line like a task's heading; it is not read as a task"
                    yield finding("task-in-fence", number, message)
                    break  # one finding for each block
        elif block.kind == "text" and "##" in block.text:
            for number, line in enumerate(block.text.split("\n"), block.first):
                marks = len(line) - len(line.lstrip("#"))
                if marks >= 2 and isinstance(task_heading(line[marks:], 2), TaskHeading):
                    message = "a heading needs a space after `#`, so this line is not read as a task"
                    yield finding("not-a-task", number, message)


def _preamble(document: Document) -> Iterable[Block]:
    """The blocks before the first task or end-to-end section."""
    for block in document.blocks:
        found = task_heading(block.text, block.level) if block.kind == "heading" else None
        if isinstance(found, TaskHeading) or (
            block.kind == "heading" and opens_end_to_end(block.text, block.level)
        ):
            return
        yield block


def document_title(document: Document) -> str:
    """The first heading of level 1, else the first heading."""
    headings = [block for block in document.blocks if block.kind == "heading"]
    first = next((block for block in headings if block.level == 1), headings[0] if headings else None)
    return "" if first is None else first.text.strip()


def _goal_under_heading(document: Document, sections: Sequence[Section]) -> str:
    """The text under a heading Goal, Objective or Purpose."""
    for section in sections:
        if section.task is None and meaning_of(section.heading.text) == "goal":
            span = _span(section)
            return document.verbatim(span.first + 1, span.last).strip()
    return ""
