"""Validation commands, which hold for a whole plan in every format, and what no format reads."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from orchestrator.errors import PlanError
from orchestrator.plan.blocks import Block, Document
from orchestrator.plan.boxes import Checkbox, may_have_box, read_box
from orchestrator.plan.commands import is_command, mentions_checks, strip_bullet
from orchestrator.plan.diagnostics import NO_GATE, NOT_VERIFY, finding
from orchestrator.plan.draft import Milestone
from orchestrator.plan.fields import Line, meaning_of
from orchestrator.plan.headings import opens_end_to_end
from orchestrator.plan.model import Diagnostic, EndToEnd, Span
from orchestrator.plan.values import only_code

MOST_VALIDATION = 200
_VALIDATION = re.compile(r"\W*validation commands\W*", re.IGNORECASE)
_QUOTE = re.compile(r"^(?:\s{0,3}>\s?)+|^\s*\|\s*(?=(?:[-*+]\s+)?\[[ xX]?\]\s)")
"""The marks before a box in a quote, or in the first cell of a table row."""


def split_validation(document: Document) -> tuple[Document, EndToEnd | None, list[Diagnostic]]:
    """The document without its section "Validation Commands", and that section.

    Its commands verify each task, and run once more as the end-to-end test.
    """
    found = _find_validation(document)
    if found is None:
        return document, None, []
    start, end = found
    blocks = document.blocks
    heading, under = blocks[start], blocks[start + 1 : end]
    commands: list[str] = []
    findings: list[Diagnostic] = []
    for block in under:
        taken, dropped = _read_block(document, block)
        commands += taken
        findings += dropped
    if len(commands) > MOST_VALIDATION:
        raise PlanError(
            f"there are {len(commands)} validation commands, and each task would run all of them",
            where=f"line {heading.first}",
            hint=f"Put them into a script; at most {MOST_VALIDATION} are taken.",
        )
    span = Span(first=heading.first, last=(under or (heading,))[-1].last)
    section = EndToEnd(commands=tuple(commands), text=document.verbatim(span.first, span.last), lines=span)
    rest = replace(document, blocks=(*blocks[:start], *blocks[end:]))
    return rest, section, findings


def _find_validation(document: Document) -> tuple[int, int] | None:
    blocks = document.blocks
    start = next(
        (n for n, b in enumerate(blocks) if b.kind == "heading" and _VALIDATION.fullmatch(b.text)), None
    )
    if start is None:
        return None
    ends = (n for n in range(start + 1, len(blocks)) if blocks[n].kind in ("heading", "rule"))
    return start, next(ends, len(blocks))


def _read_block(document: Document, block: Block) -> tuple[list[str], list[Diagnostic]]:
    """A fenced block, or each list item that is one code span; any other item is a finding."""
    if block.kind == "fence":
        return [block.text.rstrip("\n")] if is_command(block) else [], []
    commands, findings = [], []
    lines = document.lines[block.first - 1 : block.last]
    for number, text in enumerate((_QUOTE.sub("", line) for line in lines), block.first):
        item = strip_bullet(Line(number, text))
        command = only_code(item)
        if command is not None:
            commands.append(command)
        elif item != text:
            message = f"validation commands: `{item.strip()[:60]}` is not run; only one code span is"
            findings.append(finding("unread-command", number, message))
    return commands, findings


def add_validation(milestone: Milestone, validation: EndToEnd | None) -> Milestone:
    if validation is None:
        return milestone
    drafts = tuple(replace(draft, verify=(*draft.verify, *validation.commands)) for draft in milestone.drafts)
    findings = milestone.diagnostics
    if validation.commands:
        findings = tuple(entry for entry in findings if entry.code != "no-verify")
    scenario = milestone.end_to_end
    if scenario is None or not scenario.commands:
        scenario = validation
    return replace(milestone, drafts=drafts, diagnostics=findings, end_to_end=scenario)


def find_unread_boxes(document: Document, milestone: Milestone, *, is_kiro: bool) -> Iterator[Diagnostic]:
    """A finding for each box that is neither a task nor a criterion, and for each mark that is not known."""
    read = frozenset[int]().union(*(draft.boxes for draft in milestone.drafts))
    for box in _all_boxes(document):
        if box.mark == "P" and box.text.startswith("tasks"):
            continue  # the legend of spec-kit: `[P] tasks = different files`
        if box.line not in read:
            message = f"`[{box.mark or ' '}] {box.text[:40]}` is neither a task nor a criterion"
            yield finding("unread-checkbox", box.line, message)
        elif not box.is_known or (box.mark in ("-", "~") and not is_kiro):
            message = f"`[{box.mark}]` is not a known mark; `{box.text[:40]}` counts as open"
            yield finding("unread-checkbox", box.line, message)


def _all_boxes(document: Document) -> Iterator[Checkbox]:
    for block in document.blocks:
        if block.kind in ("fence", "heading", "rule"):
            continue
        lines = document.lines[block.first - 1 : block.last]
        if lines[0].lstrip().startswith("<!--"):
            continue
        for number, text in enumerate(lines, block.first):
            if not may_have_box(text):
                continue
            line = _QUOTE.sub("", text) if text.lstrip()[:1] == ">" else text
            box = _read_row(number, line) if line.lstrip()[:1] == "|" else read_box(number, line)
            if box is not None:
                yield box


def _read_row(number: int, text: str) -> Checkbox | None:
    """The box of a table row: at the beginning of its first cell, or a plain box in any other."""
    first, *others = text.strip().removeprefix("|").split("|")
    box = read_box(number, first.strip())
    if box is not None:
        return box
    boxes = (read_box(number, f"- {cell.strip()} ") for cell in (first, *others))
    plain = (found for found in boxes if found is not None and found.is_sure)
    return next((found for found in plain if found.is_known or found.mark in ("☑", "☒")), None)


def find_unread_commands(document: Document, milestone: Milestone) -> Iterator[Diagnostic]:
    """A finding for each section for commands that is outside of the tasks: nothing in it is run."""
    spans = [draft.lines for draft in milestone.drafts]
    starts = sorted((span.first, span.last) for span in spans)
    at, last = 0, 0
    section: Block | None = None
    for block in document.blocks:
        while at < len(starts) and starts[at][0] <= block.first:
            last = max(last, starts[at][1])
            at += 1
        if block.kind == "heading":
            if section is None or block.level <= section.level:
                is_unread = block.level > 1 and block.first > last and _is_for_commands(block.text, milestone)
                section = block if is_unread else None
        elif section is not None and _has_command(document, block):
            message = f"the section `{section.text[:40]}` belongs to no task; its commands are not run"
            yield finding("unread-command", section.first, message, rule=NOT_VERIFY)
            section = None


def _is_for_commands(heading: str, milestone: Milestone) -> bool:
    if milestone.end_to_end is None and opens_end_to_end(heading, 2):
        return True
    return meaning_of(heading.strip(" :*_")) == "verify" or mentions_checks(heading)


def _has_command(document: Document, block: Block) -> bool:
    taken, _ = _read_block(document, block) if block.kind in ("fence", "text") else ([], [])
    return bool(taken)


def find_missing_gate(milestone: Milestone) -> Sequence[Diagnostic]:
    """One finding if no command of the plan checks any task that is open."""
    needing = [d for d in milestone.drafts if not (d.done or d.left_out or d.type == "RESEARCH")]
    if not needing or any(draft.verify for draft in milestone.drafts):
        return []
    message = "no task has a verify command: without `verify.task` nothing checks the work"
    return [finding("no-verify", needing[0].lines.first, message, rule=NO_GATE)]
