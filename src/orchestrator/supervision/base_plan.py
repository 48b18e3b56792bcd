"""Plans the commands that run before any agent, and which of them share a container. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.supervision.decide import BUILD, Gate, Work, WorkItem


class BaseCheck(NamedTuple):
    """A command that runs on the base once, however many tasks ask for it."""

    gate: Gate
    task: str | None
    """The first task that has it as its own; None for one of the configuration or of the scenario."""


def plan_base_checks(work: Work, items: Sequence[WorkItem]) -> tuple[tuple[BaseCheck, ...], ...]:
    """The checks of these tasks, each command once, by the container that they share.

    The first container runs the guards and what several tasks ask for, so that a suite which every task names
    runs once. The other commands of a task run in a container of their own, because they can leave files
    behind that another task's commands would find. The end-to-end scenario comes last, in its own container.
    """
    own = [
        BaseCheck(gate, item.id)
        for item in items
        for gate in work.gates_of(item)
        if gate.check.source in ("task", "smoke")
    ]
    # No task has asked for these, so none owns them.
    found = [
        BaseCheck(gate, None)
        for item in items
        for gate in work.gates_of(item)
        if gate.check.source == "discovered"
    ]
    first = {_text(check.gate): check for check in reversed(own)}
    guards = [
        first.get(guard.command.strip(), BaseCheck(Gate(f"guard-{number}", guard), None))
        for number, guard in enumerate(work.guards, 1)
    ]
    asked = Counter(_text(gate) for item in items for gate in {*work.gates_of(item)})
    shared = [check for check in own if asked[_text(check.gate)] > 1]
    together = _claim_checks([*guards, *shared, *found], set())
    taken = {_text(check.gate) for check in together}
    alone = [_claim_checks([check for check in own if check.task == item.id], taken) for item in items]
    end_to_end = [BaseCheck(gate, None) for gate in work.scenario if gate.check.source != BUILD]
    last = _claim_checks(end_to_end, taken)
    return tuple(checks for checks in (together, *alone, last) if checks)


def _claim_checks(checks: Sequence[BaseCheck], taken: set[str]) -> tuple[BaseCheck, ...]:
    """The checks whose commands are not taken yet; they are afterwards."""
    found = []
    for check in checks:
        if _text(check.gate) not in taken:
            taken.add(_text(check.gate))
            found.append(check)
    return tuple(found)


def _text(gate: Gate) -> str:
    return gate.command.strip()
