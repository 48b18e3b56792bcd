"""Task lists of other tools in Markdown: spec-kit, Kiro, ralphex and the bare checklist."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from orchestrator.errors import PlanError
from orchestrator.plan.blocks import Block, Document
from orchestrator.plan.commands import is_command
from orchestrator.plan.diagnostics import finding
from orchestrator.plan.draft import Draft, Milestone
from orchestrator.plan.fields import Line
from orchestrator.plan.front_matter import FrontMatter
from orchestrator.plan.lists import Item, read_items
from orchestrator.plan.model import Diagnostic, EndToEnd, Span
from orchestrator.plan.native import document_title, read_native_drafts, struck_out_tasks
from orchestrator.plan.values import Checkbox, Reference, only_code, references

MOST_TASKS = 3000

_SPEC_KIT = re.compile(
    r"\**(?P<id>T\d{1,6}[A-Za-z]?)\b\**:?\s*(?P<marks>(?:\[[^\]\s]{1,20}\]\s*)*)(?P<title>.*)"
)
_THREE_DIGITS = re.compile(r"\**T\d{3}")
_KIRO = re.compile(r"\**(?P<id>\d{1,6}(?:\.\d{1,6}){0,5})[.)]?(?P<star>\*?)\**\s+(?P<title>\S.*)")
_DEPENDS = re.compile(r"(?<![A-Za-z])depends\s+on:?\s*(?P<what>[^)_\n]*)", re.IGNORECASE)
_FILE = re.compile(
    r"`([^`\s]{0,200}[./][^`\s]{0,200})`|(?<![\w`/.@+-])([\w.@+-]{1,200}(?:/[\w.@+\[\]-]{1,200}){1,50})"
)
MOST_VALIDATION = 200
_VALIDATION = re.compile(r"\W*validation commands\W*", re.IGNORECASE)


def has_spec_kit_tasks(document: Document) -> bool:
    """One id with three digits is enough; shorter ids count only where most items of the list have one."""
    found = read_items(document, _is_spec_kit)
    return any(_THREE_DIGITS.match(item.box.text) for item in found) or _are_most(document, _is_spec_kit)


def has_kiro_tasks(document: Document) -> bool:
    """Where most items begin with a number; one such line in a list is only a line."""
    return _are_most(document, _is_kiro)


def _are_most(document: Document, is_of_format: Callable[[Checkbox], bool]) -> bool:
    top = [item.box for item in read_items(document, _is_top)] or [
        item.box for item in read_items(document, lambda box: box.text != "")
    ]
    return 2 * sum(is_of_format(box) for box in top) > len(top)


def has_checkboxes(document: Document) -> bool:
    return bool(read_items(document, _is_top))


def has_validation_commands(document: Document) -> bool:
    return any(block.kind == "heading" and _VALIDATION.fullmatch(block.text) for block in document.blocks)


def read_spec_kit(document: Document, front: FrontMatter, path: str) -> Milestone:
    """A phase depends on the whole phase before it.

    Inside a phase, a task marked `[P]` depends on no other; a task without the mark depends on the tasks
    above it.
    """
    items = read_items(document, _is_spec_kit)
    findings = [
        _missing_number(item.box)
        for item in read_items(document, lambda box: _is_spec_kit(box) or _is_top(box))
        if not _is_spec_kit(item.box)
    ]
    if len(items) > MOST_TASKS:
        raise PlanError(f"the list has more than {MOST_TASKS} tasks", where=path, hint="Split the plan.")
    drafts: list[Draft] = []
    before: tuple[Reference, ...] = ()
    for _, phase in groupby(items, key=lambda item: item.group):
        own = list(phase)
        drafts += _read_phase(document, own, before)
        before = tuple(_reference(item) for item in own)
    return _build_milestone(document, front, drafts, findings)


def _missing_number(box: Checkbox) -> Diagnostic:
    return finding("not-a-task", box.line, f"`{box.text[:40]}` has no number and is left out")


def _read_phase(document: Document, items: Sequence[Item], before: tuple[Reference, ...]) -> Iterator[Draft]:
    earlier: list[Reference] = []
    for item in items:
        match = _spec_kit(item.box)
        parallel = "[P]" in match["marks"].upper()
        explicit = _explicit_references([Line(number=item.box.line, text=match["title"]), *item.body])
        waits = before if parallel or explicit or not earlier else tuple(earlier)
        yield _build_draft(document, item, match["id"], match["title"], (*waits, *explicit))
        if not parallel and not explicit:
            earlier.clear()
        earlier.append(_reference(item))


def read_kiro(document: Document, front: FrontMatter) -> Milestone:
    drafts, findings = [], []
    items = read_items(document, lambda box: _is_kiro(box) or _is_top(box))
    for item in items:
        match = _KIRO.fullmatch(item.box.text)
        if match is None:
            findings.append(_missing_number(item.box))
            continue
        explicit = _explicit_references(item.body)
        drafts.append(_build_draft(document, item, match["id"], match["title"], explicit or None))
        if item.box.optional or (match["star"] and not item.box.text.startswith("**")):
            findings.append(
                finding("optional-task", item.box.line, f"task {match['id']} is marked as optional")
            )
    return _build_milestone(document, front, drafts, findings)


def read_checklist(document: Document, front: FrontMatter) -> Milestone:
    items = read_items(document, _is_top)
    drafts = [_build_draft(document, item, str(n), item.box.text, None) for n, item in enumerate(items, 1)]
    return _build_milestone(document, front, drafts)


def read_ralphex(document: Document, front: FrontMatter) -> Milestone:
    """Tasks are headings.

    The validation commands verify each task, and run once more as the end-to-end test.
    """
    drafts, findings = read_native_drafts(document)
    validation, commands = _read_validation(document)
    done = [bool(draft.acceptance) and all(entry.done for entry in draft.acceptance) for draft in drafts]
    drafts = [
        replace(
            draft, verify=(*draft.verify, *commands) if draft.verify else commands, done=draft.done or is_done
        )
        for draft, is_done in zip(drafts, done, strict=True)
    ]
    if commands:
        findings = [entry for entry in findings if entry.code != "no-verify"]
    return _build_milestone(document, front, drafts, findings, validation, gates=True)


def _spec_kit(box: Checkbox) -> re.Match[str]:
    match = _SPEC_KIT.fullmatch(box.text)
    assert match is not None
    return match


def _is_spec_kit(box: Checkbox) -> bool:
    return _SPEC_KIT.fullmatch(box.text) is not None


def _is_kiro(box: Checkbox) -> bool:
    return _KIRO.fullmatch(box.text) is not None


def _is_top(box: Checkbox) -> bool:
    return box.indent == 0 and box.text != ""


def _explicit_references(lines: Iterable[Line]) -> tuple[Reference, ...]:
    said = (
        Line(number=line.number, text=match["what"])
        for line in lines
        if (match := _DEPENDS.search(line.text)) is not None
    )
    return tuple(references(said, bare=True))


def _reference(item: Item) -> Reference:
    return Reference(first=_spec_kit(item.box)["id"], last=None, line=item.box.line)


def _build_draft(
    document: Document, item: Item, id: str, title: str, depends: tuple[Reference, ...] | None
) -> Draft:
    span = item.lines
    section = document.verbatim(span.first, span.last)
    files = dict.fromkeys(quoted or bare for quoted, bare in _FILE.findall(section))
    return Draft(
        id=id,
        title=_strip_bold(title.strip()),
        lines=span,
        section=section,
        depends=depends,
        files=tuple(files),
        acceptance=item.criteria,
        done=item.box.done,
    )


def _strip_bold(title: str) -> str:
    match = re.fullmatch(r"\*\*([^*]*)\*\*", title)
    return title if match is None else match[1].strip()


def _read_validation(document: Document) -> tuple[EndToEnd | None, tuple[str, ...]]:
    blocks = list(document.blocks)
    start = next(
        (n for n, b in enumerate(blocks) if b.kind == "heading" and _VALIDATION.fullmatch(b.text)), None
    )
    if start is None:
        return None, ()
    heading = blocks[start]
    ends = (n for n in range(start + 1, len(blocks)) if blocks[n].kind in ("heading", "rule"))
    under = blocks[start + 1 : next(ends, len(blocks))]
    commands = tuple(command for block in under for command in _read_commands(block))
    if len(commands) > MOST_VALIDATION:
        raise PlanError(
            f"there are {len(commands)} validation commands, and each task would run all of them",
            where=f"line {heading.first}",
            hint=f"Put them into a script; at most {MOST_VALIDATION} are taken.",
        )
    span = Span(first=heading.first, last=(under or [heading])[-1].last)
    text = document.verbatim(span.first, span.last)
    return EndToEnd(commands=commands, text=text, lines=span), commands


def _read_commands(block: Block) -> list[str]:
    """A fenced block, or each list item that is one code span."""
    if block.kind == "fence":
        return [block.text.rstrip("\n")] if is_command(block) else []
    items = (re.sub(r"^\s*[-*+]\s+(?:\[[ xX]\]\s+)?", "", line) for line in block.text.split("\n"))
    return [command for item in items if (command := only_code(item)) is not None]


def _build_milestone(
    document: Document,
    front: FrontMatter,
    drafts: Sequence[Draft],
    findings: Sequence[Diagnostic] = (),
    end_to_end: EndToEnd | None = None,
    *,
    gates: bool = False,
) -> Milestone:
    missing = []
    if drafts and not gates:
        message = "this format has no verify commands; only configured gates will check the tasks"
        missing.append(finding("no-verify", drafts[0].lines.first, message))
    return Milestone(
        id=front.values.get("id"),
        title=front.values.get("title") or document_title(document),
        branch=front.values.get("branch"),
        goal=front.values.get("goal", ""),
        drafts=tuple(drafts),
        end_to_end=end_to_end,
        diagnostics=(*front.diagnostics, *document.diagnostics, *findings, *missing),
        left_out=struck_out_tasks(document),
        ids_are_local=True,
    )
