"""The order of tasks by their dependencies, and the cycles among these."""

import heapq
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.plan.model import Plan, Task


def order_tasks(plan: Plan) -> tuple[Task, ...]:
    """Every task after its dependencies, in document order where these leave a choice.

    Tasks on or behind a cycle (an error of the plan) come last, in document order.
    """
    position = {task.id: number for number, task in reversed(list(enumerate(plan.tasks)))}
    waits = [{position[name] for name in task.depends_on if name in position} for task in plan.tasks]
    followers: dict[int, list[int]] = {}
    for number, names in enumerate(waits):
        for name in names:
            followers.setdefault(name, []).append(number)
    heap = [number for number, names in enumerate(waits) if not names]
    order = []
    while heap:
        number = heapq.heappop(heap)
        order.append(number)
        for follower in followers.get(number, ()):
            waits[follower].discard(number)
            if not waits[follower]:
                heapq.heappush(heap, follower)
    rest = sorted(set(range(len(plan.tasks))).difference(order))
    return tuple(plan.tasks[number] for number in (*order, *rest))


def without_groups(plan: Plan) -> Plan:
    """The plan as a run carries it out: without groups, whose parts wait for what the groups wait for."""
    groups = {task.id: task for task in plan.tasks if task.is_group}
    if not groups:
        return plan
    inherited: dict[str, dict[str, None]] = {}
    for group in order_tasks(plan):
        if group.is_group:
            inherited[group.id] = _replace_groups(group, inherited)
    tasks = [
        replace(task, depends_on=tuple(name for name in _replace_groups(task, inherited) if name != task.id))
        for task in plan.tasks
        if not task.is_group
    ]
    return replace(plan, tasks=tuple(tasks))


def parts_of_group(plan: Plan, id: str) -> tuple[str, ...]:
    """The tasks that an id stands for when tasks are chosen: a group's parts, else the task itself."""
    inside: set[str] = set()
    for task in plan.tasks:
        if task.is_group and (task.id == id or task.parent in inside):
            inside.add(task.id)
    return tuple(t.id for t in plan.tasks if not t.is_group and t.parent in inside) if inside else (id,)


def _replace_groups(task: Task, inherited: dict[str, dict[str, None]]) -> dict[str, None]:
    """Its dependencies, with those of a group instead of the group, and those of the group around it."""
    names: dict[str, None] = dict(inherited.get(task.parent or "", {}))
    for name in task.depends_on:
        names.update(inherited.get(name, {name: None}))
    return names


def find_cycles(tasks: Sequence[Task]) -> tuple[tuple[str, ...], ...]:
    """Each cycle as the path of ids back to its first; one path for each set of tasks with cycles."""
    needs = {task.id: task.depends_on for task in tasks}
    state: dict[str, str] = {}
    found = []
    for task in tasks:
        if task.id not in state:
            path = _cycle_from(task.id, needs, state)
            if path is not None:
                found.append(path)
    return tuple(found)


def _cycle_from(
    start: str, needs: dict[str, tuple[str, ...]], state: dict[str, str]
) -> tuple[str, ...] | None:
    """Depth first without recursion: a plan may hold chains of any length."""
    path, pending = [start], [iter(needs[start])]
    state[start] = "open"
    found = None
    while path:
        name = next(pending[-1], None)
        if name is None:
            state[path.pop()] = "closed"
            pending.pop()
        elif state.get(name) == "open":
            found = found or (*path[path.index(name) :], name)
        elif name not in state and name in needs:
            state[name] = "open"
            path.append(name)
            pending.append(iter(needs[name]))
    return found
