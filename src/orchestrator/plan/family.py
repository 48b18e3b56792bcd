"""Tasks and their parts: which are left out, done or a group because of the others, and in which order."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.errors import PlanError
from orchestrator.plan.diagnostics import finding
from orchestrator.plan.draft import Draft
from orchestrator.plan.model import Diagnostic

MOST_DEPENDENCIES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    drafts: tuple[Draft, ...]
    """Those that are not left out; whether they are done takes their parts into account."""
    groups: frozenset[str]
    findings: tuple[Diagnostic, ...]
    parts: dict[str, tuple[str, ...]]
    """All parts of a task, and parts of those, by its id."""
    ancestors: dict[str, tuple[str, ...]]

    def with_parts(self, draft: Draft, depends: Sequence[str]) -> tuple[str, ...]:
        """Dependencies, with the parts of each. The tasks around a part have no parts for it."""
        known = dict.fromkeys(depends)
        around = self.ancestors.get(draft.id, ())
        for name in depends:
            if name in self.parts and name not in around and name != draft.id:
                known.update(dict.fromkeys(self.parts[name]))
        return tuple(known)


def read_family(drafts: Sequence[Draft]) -> Family:
    kept, findings = _leave_out(drafts)
    ancestors = _find_ancestors(kept)
    parts: dict[str, list[str]] = {}
    for draft in kept:
        for name in ancestors.get(draft.id, ()):
            parts.setdefault(name, []).append(draft.id)
    groups = frozenset(draft.id for draft in kept if draft.only_title and draft.id in parts)
    kept = _finish_with_parts(kept, groups)
    for draft in kept:
        if draft.done:
            message = f"task {draft.id} counts as done: {draft.done}"
            findings.append(finding("counts-as-done", draft.lines.first, message))
    return Family(
        drafts=tuple(kept),
        groups=groups,
        findings=tuple(findings),
        parts={name: tuple(found) for name, found in parts.items()},
        ancestors=ancestors,
    )


def _leave_out(drafts: Sequence[Draft]) -> tuple[list[Draft], list[Diagnostic]]:
    """A task that is left out takes its parts with it; one finding names them all."""
    roots: dict[str, Draft] = {}
    taken: dict[str, list[str]] = {}
    kept = []
    for draft in drafts:
        root = roots.get(draft.parent or "")
        if root is not None:
            roots[draft.id] = root
            taken[root.id].append(draft.id)
        elif draft.left_out:
            roots[draft.id] = draft
            taken.setdefault(draft.id, [])
        else:
            kept.append(draft)
    findings = []
    for draft in drafts:
        if roots.get(draft.id) is draft:
            parts = f", with its subtasks {', '.join(taken[draft.id][:20])}" if taken[draft.id] else ""
            message = f"task {draft.id} is left out: {draft.left_out}{parts}"
            findings.append(finding("left-out-task", draft.lines.first, message))
    return kept, findings


def _find_ancestors(drafts: Sequence[Draft]) -> dict[str, tuple[str, ...]]:
    """The tasks around each part, the nearest first. A parent comes before its parts."""
    seen: set[str] = set()
    found: dict[str, tuple[str, ...]] = {}
    total = 0
    for draft in drafts:
        if draft.parent in seen and draft.id not in seen:
            found[draft.id] = (draft.parent, *found.get(draft.parent, ()))
            total += len(found[draft.id])
            _check_total(total, draft)
        seen.add(draft.id)
    return found


def _finish_with_parts(drafts: Sequence[Draft], groups: frozenset[str]) -> list[Draft]:
    """A task is done when all its parts are; a group is done only then."""
    open_parts: dict[str, int] = {}
    count: dict[str, int] = {}
    changed = []
    for draft in reversed(drafts):
        if count.get(draft.id) and not open_parts.get(draft.id):
            draft = replace(draft, done=draft.done or "all of its subtasks are done")
        elif draft.id in groups:
            draft = replace(draft, done="")
        if draft.parent is not None:
            count[draft.parent] = count.get(draft.parent, 0) + 1
            has_open = not draft.done or open_parts.get(draft.id, 0) > 0
            open_parts[draft.parent] = open_parts.get(draft.parent, 0) + has_open
        changed.append(draft)
    return changed[::-1]


def fill_in_order(drafts: Sequence[Draft], named: Sequence[tuple[str, ...] | None]) -> list[tuple[str, ...]]:
    """The dependencies of each task; one that names none depends on the task before it.

    That must not make a cycle that the plan does not contain: a task does not wait for one that waits for it.
    So the tasks are put into an order that the named dependencies allow, with each task before its parts, and
    the task before is the nearest one above it that is also earlier in this order.
    """
    rank = _rank(drafts, named)
    earlier: list[int] = []
    filled = []
    total = 0
    for number, draft in enumerate(drafts):
        while earlier and rank[earlier[-1]] > rank[number]:
            earlier.pop()
        own = named[number]
        if own is None:
            nearest = drafts[earlier[-1]].id if earlier else draft.id
            own = (nearest,) if nearest != draft.id else ()
        total += len(own)
        _check_total(total, draft)
        filled.append(own)
        earlier.append(number)
    return filled


def _rank(drafts: Sequence[Draft], named: Sequence[tuple[str, ...] | None]) -> list[int]:
    """The place of each task in such an order; tasks on a cycle come last."""
    position = {draft.id: number for number, draft in reversed(list(enumerate(drafts)))}
    waits = [{position[name] for name in own or ()} for own in named]
    for number, draft in enumerate(drafts):
        around = position.get(draft.parent or "", number)
        if around < number and number not in waits[around]:
            waits[number].add(around)
    followers: dict[int, list[int]] = {}
    for number, names in enumerate(waits):
        for name in names:
            followers.setdefault(name, []).append(number)
    ready = [number for number, names in enumerate(waits) if not names]
    rank = [len(drafts)] * len(drafts)
    for place in range(len(drafts)):
        if not ready:
            break
        number = heapq.heappop(ready)
        rank[number] = place
        for follower in followers.get(number, ()):
            waits[follower].discard(number)
            if not waits[follower]:
                heapq.heappush(ready, follower)
    return rank


def _check_total(total: int, draft: Draft) -> None:
    if total > MOST_DEPENDENCIES:
        raise PlanError(
            f"the tasks have more than {MOST_DEPENDENCIES} dependencies",
            where=f"line {draft.lines.first}",
            hint="Split the plan, or name fewer tasks with subtasks as dependencies.",
        )
