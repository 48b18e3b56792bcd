"""Commands that run on the base, and those among them that share a container."""

from msgspec.structs import replace

from orchestrator.supervision.base_plan import BaseCheck, plan_base_checks
from orchestrator.supervision.decide import Check, Work, WorkItem


def item(id: str, *own: str, guards: tuple[str, ...] = ()) -> WorkItem:
    """A task with these commands of its own, and the guards that it does not name itself."""
    checks = [Check(command=command, source="task", is_guard=command in guards) for command in own]
    added = [Check(command=guard, source="configured", is_guard=True) for guard in guards if guard not in own]
    return WorkItem(id=id, depends_on=(), checks=(*checks, *added), change="required")


def plan(
    *items: WorkItem, guards: tuple[str, ...] = (), end: tuple[Check, ...] = ()
) -> list[list[tuple[str, str, str | None]]]:
    work = Work(
        items=items,
        end_to_end=end,
        attempts=1,
        build=(Check(command="make", source="build"),),
        guards=tuple(Check(command=guard, source="configured", is_guard=True) for guard in guards),
    )

    def shown(check: BaseCheck) -> tuple[str, str, str | None]:
        return check.gate.name, check.gate.command, check.task

    return [[shown(check) for check in checks] for checks in plan_base_checks(work, items)]


def test_a_task_has_a_container_of_its_own() -> None:
    assert plan(item("1", "a", "b"), item("2", "c")) == [
        [("verify-1", "a", "1"), ("verify-2", "b", "1")],
        [("verify-1", "c", "2")],
    ]


def test_guards_share_the_first_container() -> None:
    guards = ("suite", "lint")
    assert plan(item("1", "a", guards=guards), item("2", guards=guards), guards=guards) == [
        [("guard-1", "suite", None), ("guard-2", "lint", None)],
        [("verify-1", "a", "1")],
    ]


def test_what_several_tasks_ask_for_runs_once() -> None:
    assert plan(item("1", "a", "suite"), item("2", "b", "suite")) == [
        [("verify-2", "suite", "1")],
        [("verify-1", "a", "1")],
        [("verify-1", "b", "2")],
    ]


def test_a_guard_that_a_task_names_is_one_row_of_that_task() -> None:
    guards = ("suite",)
    tasks = (item("1", "a", guards=guards), item("2", "suite", guards=guards))
    assert plan(*tasks, guards=guards) == [[("verify-1", "suite", "2")], [("verify-1", "a", "1")]]


def test_a_command_that_a_task_names_twice_runs_once() -> None:
    once = item("1", "a")
    assert plan(replace(once, checks=once.checks * 2)) == [[("verify-1", "a", "1")]]


def test_without_tasks_the_guards_run() -> None:
    assert plan(guards=("suite",)) == [[("guard-1", "suite", None)]]
    assert plan() == []


def test_the_scenario_and_verify_milestone_run_last_in_a_container_of_their_own() -> None:
    end = (Check(command="journey", source="scenario"), Check(command="whole", source="configured"))
    assert plan(item("1", "a"), end=end) == [
        [("verify-1", "a", "1")],
        [("e2e-1", "journey", None), ("e2e-2", "whole", None)],
    ]


def test_a_command_of_the_scenario_that_is_also_a_guard_runs_once() -> None:
    end = (Check(command="journey", source="scenario"), Check(command="suite", source="scenario"))
    assert plan(guards=("suite",), end=end) == [
        [("guard-1", "suite", None)],
        [("e2e-1", "journey", None)],
    ]
