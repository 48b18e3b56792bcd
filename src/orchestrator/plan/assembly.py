"""Turns what a reader found into tasks: resolves dependencies, hashes sections, gathers findings."""

import hashlib
import re
import string
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from orchestrator.plan.diagnostics import OWN_DEPENDENCY, finding
from orchestrator.plan.draft import Draft, Milestone
from orchestrator.plan.family import fill_in_order, read_family
from orchestrator.plan.model import Diagnostic, Task
from orchestrator.plan.states import is_checkpoint
from orchestrator.plan.values import Reference

# Ids become parts of refs, container names and file names.
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_RANGE = 500


class _OwnIds(NamedTuple):
    """Decides whether an unknown id can only mean a task of this plan, which makes it a mistake."""

    series: frozenset[str]
    kept: frozenset[str]
    """The ids of tasks that the plan does not leave out."""
    are_local: bool

    def must_contain(self, name: str, reference: Reference) -> bool:
        """Whether the plan must have had a task of this id.

        An id with a dot begins with its milestone's number. An id without a dot may be a number in a
        sentence.
        """
        if not ("." in name or reference.alone):
            return False
        return self.are_local or _series(name) in self.series


def assemble_tasks(milestone: Milestone) -> tuple[tuple[Task, ...], list[Diagnostic]]:
    """Tasks in document order. A task that names no dependencies depends on the one before it.

    What the plan leaves out is not a task, and neither are its parts. A task that is only a title over its
    parts is a group. A dependency on a task with parts is one on each of them, too.
    """
    family = read_family(milestone.drafts)
    drafts = family.drafts
    ids = _own_ids(milestone, frozenset(draft.id for draft in drafts))
    findings = [*_id_findings(drafts), *family.findings]
    position = _first_positions(milestone.drafts)
    named: list[tuple[str, ...] | None] = []
    for draft in drafts:
        if draft.depends is None:
            named.append(None)
        elif _names_no_task(draft.depends, position):
            message = f"task {draft.id} has a dependency field that names no task"
            findings.append(finding("unreadable-dependency", draft.depends[0].line, message))
            named.append(None)
        else:
            depends, unknown = _resolve_dependencies(draft, milestone.drafts, position, ids)
            findings += unknown
            if not depends and draft.after_parent and draft.parent in family.parts:
                depends = (draft.parent,)
            named.append(family.with_parts(draft, depends))
    filled = fill_in_order(drafts, named)
    tasks = []
    for draft, depends, own in zip(drafts, filled, named, strict=True):
        task = _build_task(draft, depends, is_named=own is not None, is_group=draft.id in family.groups)
        if task.type is None and is_checkpoint(task.title) and not task.done:
            message = f"task {task.id} only asks for a check: it is read as VALIDATION"
            findings.append(finding("read-as-validation", task.lines.first, message))
            task = replace(task, type="VALIDATION")
        tasks.append(task)
    return tuple(tasks), findings


def _id_findings(drafts: Sequence[Draft]) -> list[Diagnostic]:
    findings = []
    seen: dict[str, int] = {}
    for draft in drafts:
        line = draft.lines.first
        if draft.id in seen:
            message = f"task {draft.id} is already on line {seen[draft.id]}"
            findings.append(finding("duplicate-id", line, message))
        elif _SAFE_ID.fullmatch(draft.id) is None or ".." in draft.id:
            findings.append(finding("bad-task-id", line, f"`{draft.id[:60]}` is not a task id"))
        seen.setdefault(draft.id, line)
    return findings


def _names_no_task(depends: Sequence[Reference], position: dict[str, int]) -> bool:
    """Whether a field of dependencies has numbers in it, and none of them is a task."""
    return bool(depends) and not any(
        each.sure or _position_of(each.first, position) is not None for each in depends
    )


def _resolve_dependencies(
    draft: Draft, drafts: Sequence[Draft], position: dict[str, int], ids: _OwnIds
) -> tuple[tuple[str, ...], list[Diagnostic]]:
    """The ids that a task depends on. `drafts` has the tasks that are left out, too: they count as met."""
    known: dict[str, None] = {}
    findings = []
    for reference in draft.depends or ():
        whole = _position_of(reference.whole, position)
        if whole is not None:
            known[drafts[whole].id] = None
            continue
        first, last = _position_of(reference.first, position), _position_of(reference.last, position)
        if first is not None and last is not None and first <= last < first + _LONGEST_RANGE:
            known.update(dict.fromkeys(other.id for other in drafts[first : last + 1]))
            continue
        for name, place in ((reference.first, first), (reference.last, last)):
            if place is not None:
                known[drafts[place].id] = None
            elif name is not None and reference.sure:
                message = f"task {draft.id} depends on {name}, which is not in this plan"
                rule = OWN_DEPENDENCY if ids.must_contain(name, reference) else None
                findings.append(finding("unknown-dependency", reference.line, message, rule=rule))
        if reference.last is not None:
            message = (
                f"`{reference.first} to {reference.last}` is not a range of tasks of this plan; "
                "only its two ends are used"
            )
            findings.append(finding("unreadable-dependency", reference.line, message))
    return tuple(name for name in known if name in ids.kept), findings


def _own_ids(milestone: Milestone, kept: frozenset[str]) -> _OwnIds:
    series = {_series(draft.id) for draft in milestone.drafts}
    if milestone.id is not None:
        number = milestone.id.lower().removeprefix("m")
        series |= {f"{number}.", f"m{number}."}
    return _OwnIds(frozenset(series), kept, milestone.ids_are_local)


def _series(id: str) -> str:
    """The part that ids of one milestone share.

    `3.` of 3.1 and 3.2a, `m3.` of M3.1, `t` of T012, nothing of 7.
    """
    head, dot, _ = id.lower().partition(".")
    return head + dot if dot else head.rstrip(string.ascii_lowercase).rstrip(string.digits)


# Bounded repeats: a hostile line of blanks must not be searched again from each of its columns.
_TICK = re.compile(r"^([ \t]{0,20}(?:[-*+]|\d{1,9}[.)])[ \t]{0,8})\[[xX]\]", re.MULTILINE)


def _first_positions(drafts: Sequence[Draft]) -> dict[str, int]:
    """The index of the first task with each id; the lower-case form of an id is found, too."""
    backwards = list(reversed(list(enumerate(drafts))))
    folded = {draft.id.lower(): number for number, draft in backwards}
    return folded | {draft.id: number for number, draft in backwards}


def _position_of(name: str | None, position: dict[str, int]) -> int | None:
    return None if name is None else position.get(name, position.get(name.lower()))


def _build_task(draft: Draft, depends: tuple[str, ...], *, is_named: bool, is_group: bool) -> Task:
    return Task(
        id=draft.id,
        title=draft.title,
        type=draft.type,
        files=draft.files,
        depends_on=depends,
        acceptance=draft.acceptance,
        verify=draft.verify,
        smoke_tests=draft.smoke_tests,
        estimate_minutes=draft.estimate_minutes,
        done=draft.done != "",
        lines=draft.lines,
        section=draft.section,
        hash=_hash_section(draft.section),
        names_dependencies=is_named,
        parent=draft.parent,
        is_group=is_group,
    )


def _hash_section(section: str) -> str:
    """A hash of the text with all boxes unticked: ticking a box does not change what the task asks for."""
    return hashlib.sha256(_TICK.sub(r"\1[ ]", section).encode("utf-8")).hexdigest()
