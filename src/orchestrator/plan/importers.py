"""Task lists of other tools in Markdown: spec-kit, Kiro, ralphex and the bare checklist."""

import re
import string
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from orchestrator.errors import PlanError
from orchestrator.plan.blocks import Block, Document
from orchestrator.plan.boxes import Checkbox
from orchestrator.plan.branches import read_branch
from orchestrator.plan.commands import find_unused_commands, read_commands
from orchestrator.plan.diagnostics import finding
from orchestrator.plan.draft import Draft, Milestone
from orchestrator.plan.fields import Line, read_fields
from orchestrator.plan.front_matter import FrontMatter
from orchestrator.plan.headings import STRUCK_OUT, is_struck_out, names_several, read_title
from orchestrator.plan.lists import Item, ListTask, choose_tasks
from orchestrator.plan.model import Criterion, Diagnostic
from orchestrator.plan.native import document_title, read_native
from orchestrator.plan.states import Decision, decide_state, is_marked_open, lead_state, section_left_out
from orchestrator.plan.values import (
    Reference,
    are_only_ids,
    means_none,
    minutes,
    references,
    references_of,
    task_type,
)

MOST_TASKS = 3000

_SPEC_ID = r"(?:US\d{1,4}-)?T(?:ASK)?-?\d{1,6}[A-Za-z]?(?:[.-]\d{1,4}[A-Za-z]?){0,4}"
_SPEC_KIT = re.compile(
    rf"\[?(?P<id>{_SPEC_ID})(?!\w|-(?!T(?:ASK)?-?\d)\w)"
    r"(?P<rest>\]?[:.)–—-]?\s*(?P<marks>(?:\[[^\]\s]{1,20}\]\s*)*)(?P<title>.*))"
)
_THREE_DIGITS = re.compile(r"(?:US\d{1,4}-)?T(?:ASK)?-?\d{3}")
_NUMBER = r"\d{1,6}(?:\.\d{1,6}){0,5}(?:[A-Za-z](?![^\W_]))?"
_KIRO = re.compile(
    rf"(?P<id>{_NUMBER})(?:(?P<joint>\s?(?:[-–—~/&+,]|and|to)\s?)(?P<second>{_NUMBER}))?"
    r"(?P<end>[.):]?)(?P<star>\*?)\s+(?:[-–—]\s+)?(?P<title>\S.*)"
)
# What authors put around the start of an item, or around its id.
_ANY_ID = rf"(?:{_SPEC_ID}(?![^\W_])|{_NUMBER}[.):]|\d{{1,6}}\.\d[\d.]*(?![^\W_]))"
_AROUND = (
    re.compile(r"(?P<mark>\*\*|__)(?P<inner>.{1,300}?)(?P=mark)(?P<rest>.*)"),
    re.compile(
        rf"(?P<mark>~~)(?P<inner>[\s*_`\[]{{0,4}}(?:{_ANY_ID}|{_NUMBER}(?=~)).{{0,600}}?)(?P=mark)(?P<rest>.*)"
    ),
    re.compile(rf"(?P<mark>[*_`])(?P<inner>{_ANY_ID}[^*_`]{{0,40}})(?P=mark)(?P<rest>.*)"),
    re.compile(rf"(?P<mark>\[)(?P<inner>`?(?:{_ANY_ID}|{_NUMBER})`?)\]\([^()]{{0,300}}\)(?P<rest>.*)"),
    re.compile(rf"(?P<mark>#)(?P<inner>{_SPEC_ID}(?!\w))(?P<rest>.*)"),
)
_DEPENDS = re.compile(
    r"(?<![A-Za-z])(?:depends\s+(?:up)?on|(?:depends|dependenc(?:y|ies)|blocked\s+by)\s*:)[:*_]*\s*(?P<what>[^)_\n]*)"
    r"|\((?:after|requires|needs|blocked\s+by|deps?)[\s:]\s*(?P<ids>[^()\n]*)\)",
    re.IGNORECASE,
)
_METADATA = re.compile(r"\s*(?:[-*+]\s+)?_[^_\n]+_\s*|\s*")
_ESTIMATE = re.compile(r"\best:\s*(?P<time>[\w.]{1,12})", re.IGNORECASE)
_FILE = re.compile(
    r"`([^`\s]{0,200}[./][^`\s]{0,200})`|(?<![\w`/.@+-])([\w.@+-]{1,200}(?:/[\w.@+\[\]-]{1,200}){1,50})"
)


def has_spec_kit_tasks(items: Sequence[Item]) -> bool:
    """One id with three digits is enough; shorter ids count only where most items of the list have one."""
    found = [item.box for item in items if _is_spec_kit(item.box)]
    has_long_id = any(_THREE_DIGITS.match(_spec_kit(box)["id"]) for box in found)
    return has_long_id or _are_most(items, _is_spec_kit)


def has_kiro_tasks(items: Sequence[Item]) -> bool:
    """Where most items begin with a number; one such line in a list is only a line."""
    return _are_most(items, _is_kiro)


def _are_most(items: Sequence[Item], is_of_format: Callable[[Checkbox], bool]) -> bool:
    top = [item.box for item in items if item.parent is None and _can_be_task(item.box)]
    return 2 * sum(is_of_format(box) for box in top) > len(top)


def has_checkboxes(items: Sequence[Item]) -> bool:
    return any(_can_be_task(item.box) for item in items)


def read_spec_kit(document: Document, items: Sequence[Item], front: FrontMatter, path: str) -> Milestone:
    """A phase depends on the whole phase before it.

    Inside a phase, a task marked `[P]` depends on no other; a task without the mark depends on the tasks
    above it. Tasks that are left out are not waited for.
    """
    tasks = choose_tasks(items, lambda item: _is_spec_kit(item.box))
    if len(tasks) > MOST_TASKS:
        raise PlanError(f"the list has more than {MOST_TASKS} tasks", where=path, hint="Split the plan.")
    found: list[tuple[Draft, list[Diagnostic]]] = []
    before: tuple[Reference, ...] = ()
    left_out: set[str | None] = set()
    for _, phase in groupby(tasks, key=lambda task: task.item.group):
        own = list(_read_phase(document, list(phase), before, left_out))
        kept = [draft for draft, _ in own if draft.id not in left_out]
        before = tuple(_reference(draft.id, draft.lines.first) for draft in kept) or before
        found += own
    return _build_milestone(document, front, items, found)


def _read_phase(
    document: Document, tasks: Sequence[ListTask], before: tuple[Reference, ...], left_out: set[str | None]
) -> Iterator[tuple[Draft, list[Diagnostic]]]:
    """The tasks of a phase; the ids of those that are left out are added to `left_out`."""
    earlier: list[Reference] = []
    for task in tasks:
        match = _spec_kit(task.box)
        parallel = "[P]" in match["marks"].upper()
        explicit = _explicit_references(task, match["title"])
        waits = before if parallel or explicit is not None or not earlier else tuple(earlier)
        parent = None if task.parent is None else _spec_kit(task.parent.box)["id"]
        depends = (*waits, *(explicit or ()))
        draft, findings = _build_draft(
            document, task, match["id"], match["title"], depends, parent=parent, marks=match["marks"]
        )
        if names_several(draft.id, match["rest"].lstrip("]")):
            findings.append(_find_several(draft))
        yield draft, findings
        if draft.left_out or parent in left_out:
            left_out.add(draft.id)
            continue
        if not parallel and explicit is None:
            earlier.clear()
        earlier.append(_reference(draft.id, task.box.line))


def read_kiro(document: Document, items: Sequence[Item], front: FrontMatter) -> Milestone:
    found: list[tuple[Draft, list[Diagnostic]]] = []
    for prefix, tasks in _split_lists(choose_tasks(items, _is_kiro_task)):
        own = {_kiro(task.box)["id"] for task in tasks}
        ids: set[str] = set()
        for task in tasks:
            match = _kiro(task.box)
            id, around = match["id"], match["id"].rpartition(".")[0]
            if around not in ids:
                around = "" if task.parent is None else _kiro(task.parent.box)["id"]
            ids.add(id)
            explicit = _explicit_references(task, match["title"])
            if explicit is not None and prefix:
                explicit = tuple(_with_prefix(reference, prefix, own) for reference in explicit)
            parent = f"{prefix}{around}" if around else None
            draft, findings = _build_draft(
                document, task, f"{prefix}{id}", match["title"], explicit, parent=parent
            )
            findings += _find_about_kiro(task, match, draft)
            if prefix and task is tasks[0]:
                message = f"the numbers of tasks begin again here: {id} is read as {draft.id}"
                findings.append(finding("numbers-begin-again", task.box.line, message))
            found.append((draft, findings))
    return _build_milestone(document, front, items, found)


def _split_lists(tasks: Sequence[ListTask]) -> Iterator[tuple[str, list[ListTask]]]:
    """Lists under different headings whose numbers begin again; ids of the second list get `B.` in front."""
    lists: list[list[ListTask]] = [[]]
    sections: dict[str, int] = {}
    before = -1
    for task in tasks:
        id, section = _kiro(task.box)["id"], task.item.section
        if sections.get(id, section) != section != before and len(lists) < len(string.ascii_uppercase):
            lists.append([])
            sections = {}
        sections.setdefault(id, section)
        before = section
        lists[-1].append(task)
    for letter, found in zip(string.ascii_uppercase, lists, strict=False):
        yield "" if letter == "A" else f"{letter}.", found


def _with_prefix(reference: Reference, prefix: str, own: Container[str | None]) -> Reference:
    """The reference, if it names a task of the same list."""
    if reference.first not in own:
        return reference
    last = f"{prefix}{reference.last}" if reference.last in own else reference.last
    whole = f"{prefix}{reference.whole}" if reference.whole in own else reference.whole
    return replace(reference, first=f"{prefix}{reference.first}", last=last, whole=whole)


def _find_about_kiro(task: ListTask, match: re.Match[str], draft: Draft) -> Iterator[Diagnostic]:
    if match["second"]:
        yield _find_several(draft)
    if task.box.optional or match["star"]:
        yield finding("optional-task", task.box.line, f"task {draft.id} is marked as optional")


def _find_several(draft: Draft) -> Diagnostic:
    message = f"the item names more than one task; it is read as task {draft.id}"
    return finding("bad-task-id", draft.lines.first, message)


def read_checklist(document: Document, items: Sequence[Item], front: FrontMatter) -> Milestone:
    """Every box that is in no other is a task; the boxes inside it are its criteria."""
    tasks = _choose_sections(choose_tasks(items, lambda item: item.parent is None and _can_be_task(item.box)))
    found = [
        _build_draft(document, task, str(n), task.box.text, None, parent=None)
        for n, task in enumerate(tasks, 1)
    ]
    return _build_milestone(document, front, items, found)


_TASKS_HEADING = re.compile(r"\W*tasks\s*/\s*sub-?tasks\W*", re.IGNORECASE)
_CRITERIA_HEADING = re.compile(
    r"\W*(?:\d+[.)]?\s*)?(?:(?:overall|project|story|feature|milestone)\s+)?"
    r"(?:acceptance(?: criteria| tests?)?|success (?:criteria|metrics)|definition of (?:done|ready)"
    r"|(?:final\s+)?(?:completion|acceptance|validation|review|qa|quality|requirements)\s+checklist)\W*",
    re.IGNORECASE,
)


def _choose_sections(tasks: list[ListTask]) -> list[ListTask]:
    """The tasks that are not criteria of the whole plan by their headings; all, if none would be left.

    In a story of BMAD the tasks are under `Tasks / Subtasks`.
    """
    listed = [task for task in tasks if any(map(_TASKS_HEADING.fullmatch, task.item.headings))]
    if listed:
        return listed
    others = [task for task in tasks if not any(map(_CRITERIA_HEADING.fullmatch, task.item.headings))]
    return others or tasks


def read_ralphex(document: Document, front: FrontMatter) -> Milestone:
    """Tasks are headings. A task is done when all its boxes are ticked."""
    milestone = read_native(document, front)
    drafts = [
        replace(draft, done=draft.done or "all of its boxes are ticked")
        if any(entry.done for entry in draft.acceptance) and not _open_boxes(draft.acceptance)
        else draft
        for draft in milestone.drafts
    ]
    return replace(milestone, drafts=tuple(drafts), ids_are_local=True)


def _open_boxes(criteria: Sequence[Criterion]) -> list[Criterion]:
    """Those that are not ticked. One that is struck out asks for nothing."""
    return [entry for entry in criteria if not entry.done and not is_struck_out(entry.text)]


class _Start(NamedTuple):
    """The text of an item without the marks that it begins with: `T01: Count now` of `**T01: Count** now`."""

    text: str
    is_struck: bool
    """Whether its id is struck out."""


def _plain_start(text: str) -> _Start:
    is_struck = False
    for _ in range(4):
        if text[:1] not in ("*", "_", "~", "`", "[", "#"):
            break
        match = next((found for form in _AROUND if (found := form.fullmatch(text)) is not None), None)
        if match is None:
            break
        is_struck = is_struck or match["mark"] == "~~"
        text = (match["inner"] + match["rest"]).lstrip()
    return _Start(text, is_struck)


# An item is asked several times for its form: to recognise the format, and to find parents and lists.
@lru_cache(maxsize=20_000)
def _match_spec_kit(text: str) -> re.Match[str] | None:
    return _SPEC_KIT.fullmatch(_plain_start(text).text)


@lru_cache(maxsize=20_000)
def _match_kiro(text: str) -> re.Match[str] | None:
    return _KIRO.fullmatch(_plain_start(text).text)


def _spec_kit(box: Checkbox) -> re.Match[str]:
    match = _match_spec_kit(box.text)
    assert match is not None
    return match


def _is_spec_kit(box: Checkbox) -> bool:
    return _match_spec_kit(box.text) is not None


def _kiro(box: Checkbox) -> re.Match[str]:
    match = _match_kiro(box.text)
    assert match is not None
    return match


def _is_kiro(box: Checkbox) -> bool:
    """A number, or a range or list of numbers: `2.1-2.3 Write them`, and not `3-4 times` or `3D view`."""
    match = _match_kiro(box.text)
    if match is None:
        return False
    is_plain = match["id"].isdigit() and not match["second"]
    return is_plain or (
        ("." in match["id"] or match["end"] != "")
        and match["id"].count(".") == (match["second"] or match["id"]).count(".")
    )


def _is_kiro_task(item: Item) -> bool:
    """Inside another item, a number alone belongs to the sentence: `3 attempts at most`."""
    if not _is_kiro(item.box):
        return False
    match = _kiro(item.box)
    return item.parent is None or "." in match["id"] or match["end"] != "" or match["star"] != ""


def _can_be_task(box: Checkbox) -> bool:
    return box.is_sure and box.text != ""


def _explicit_references(task: ListTask, title: str) -> tuple[Reference, ...] | None:
    """The tasks that an item names as its dependencies; None if it says nothing about them."""
    lines = [Line(task.box.line, title), *task.body]
    said = [
        Line(line.number, match["what"] or match["ids"] or "")
        for line in lines
        if (match := _DEPENDS.search(line.text)) is not None
        and (match["ids"] is None or are_only_ids([Line(line.number, match["ids"])]))
    ]
    fields = task.fields
    found = [*references(said, bare=True), *references_of(fields.of("depends", "prerequisites"))]
    values = [line.text for line in said] + [field.value for field in fields.of("depends")]
    return tuple(dict.fromkeys(found)) if found or any(map(means_none, values)) else None


def _reference(id: str, line: int) -> Reference:
    return Reference(first=id, last=None, line=line, whole=id)


def _build_draft(
    document: Document,
    task: ListTask,
    id: str,
    title: str,
    depends: tuple[Reference, ...] | None,
    *,
    parent: str | None,
    marks: str = "",
) -> tuple[Draft, list[Diagnostic]]:
    span, section = task.section(document)
    fields = task.fields
    verify = read_commands(fields.of("verify"), whose=f"task {id}")
    estimate = _ESTIMATE.search(title)
    files = dict.fromkeys(quoted or bare for quoted, bare in _FILE.findall(section))
    status = fields.text("status")
    struck = STRUCK_OUT if _plain_start(task.box.text).is_struck else None
    state = decide_state(struck or lead_state(marks) or read_title(title), status, where="text")
    by_status = decide_state(None, status, where="text") if status else Decision()
    open_boxes = _open_boxes(task.criteria)
    unused = find_unused_commands(fields.all, whose=f"task {id}")
    done, findings = by_status.done if not task.box.done else "", [*verify.diagnostics, *unused]
    if task.box.done and status and not by_status.done:
        message = f"task {id} is ticked and its Status is `{status.strip()[:60]}`; it counts as open"
        findings.append(finding("unread-state", task.box.line, message))
    elif not task.box.done and state.done and not done:
        message = f"task {id}: {state.done}, and its box is not ticked; it counts as open"
        findings.append(finding("unread-state", task.box.line, message))
    elif task.box.done and is_marked_open(title):
        message = f"task {id} is ticked and its text says that it is not finished; it counts as open"
        findings.append(finding("unread-state", task.box.line, message))
    elif task.box.done and not open_boxes:
        done = "its box is ticked"
    elif task.box.done:
        message = f"task {id} is ticked and a box inside it is open; the task counts as open"
        findings.append(finding("unread-state", task.box.line, message))
    if state.unclear and not task.box.done:
        findings.append(finding("unread-state", task.box.line, f"task {id}: {state.unclear}"))
    # `Type: validation of input` is about something else.
    value = fields.text("type")
    draft = Draft(
        id=id,
        title=_plain_start(title.strip()).text,
        lines=span,
        section=section,
        depends=depends,
        type=task_type(value) if value.strip(" *_`.").isalpha() else None,
        files=tuple(files),
        acceptance=task.criteria,
        verify=tuple(dict.fromkeys(verify.commands)),
        estimate_minutes=minutes(estimate["time"] if estimate else fields.text("estimate")),
        done=done,
        left_out=state.left_out or next(filter(None, map(section_left_out, task.item.headings)), ""),
        parent=parent,
        only_title=not task.inner and all(_is_only_metadata(part) for part in task.item.parts),
        boxes=task.boxes,
    )
    return draft, [] if draft.left_out else findings


def _is_only_metadata(part: Line | Block) -> bool:
    """Whether a line under a task is empty, or names requirements or dependencies: `_Requirements: 1.1_`."""
    return isinstance(part, Line) and _METADATA.fullmatch(part.text) is not None


def _build_milestone(
    document: Document,
    front: FrontMatter,
    items: Sequence[Item],
    found: Sequence[tuple[Draft, list[Diagnostic]]],
) -> Milestone:
    first = items[0].box.line if items else 0
    preamble = [block for block in document.blocks if block.first <= first]
    branch, about_branch = read_branch(front, read_fields(document, preamble))
    findings = [entry for _, about in found for entry in about]
    return Milestone(
        id=front.values.get("id"),
        title=front.values.get("title") or document_title(document),
        branch=branch,
        goal=front.values.get("goal", ""),
        drafts=tuple(draft for draft, _ in found),
        end_to_end=None,
        diagnostics=(*front.diagnostics, *document.diagnostics, *findings, *about_branch),
        ids_are_local=True,
    )
