"""Plans for the policy, which asks for little of them."""

from typing import Any

from orchestrator.plan.model import Plan, Span, Task
from orchestrator.supervision.decide import Check


def task(id: str, **changes: Any) -> Task:
    given: dict[str, Any] = {
        "id": id,
        "title": f"Title of {id}",
        "type": "CODING",
        "files": (),
        "depends_on": (),
        "acceptance": (),
        "verify": (),
        "smoke_tests": (),
        "estimate_minutes": None,
        "done": False,
        "lines": Span(first=1, last=2),
        "section": f"## Task {id}",
        "hash": f"hash of {id}",
    }
    return Task(**(given | changes))


def plan(*tasks: Task) -> Plan:
    return Plan(
        path="plans/greeting.md",
        format="native",
        id=None,
        title="A greeting",
        branch=None,
        goal="",
        tasks=tasks or (task("1"), task("2"), task("3")),
        end_to_end=None,
        diagnostics=(),
    )


def checks(*commands: str) -> tuple[Check, ...]:
    """A task's own commands."""
    return tuple(Check(command=command, source="task") for command in commands)
