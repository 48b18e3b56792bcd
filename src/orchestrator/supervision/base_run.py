"""Reads the checks on the base: finds red guards, and words what the user can do about them."""

from orchestrator.programs import suggest_provision
from orchestrator.run.facts import BaseChecked
from orchestrator.run.state import RunState
from orchestrator.text import first_line, one_line

SHOWN_LINES = 12


def list_red_guards(state: RunState) -> tuple[BaseChecked, ...]:
    """The guards that fail on the run's base. One that finds no test yet does not fail."""
    checks = [each.check for each in state.base if each.check.commit is None]
    return tuple(check for check in checks if check.is_guard and check.before == "red")


def describe_red_base(run: str, red: tuple[BaseChecked, ...]) -> str:
    """Why the run cannot begin, with the end of each command's output and what the user can do."""
    parts = [_describe_guard(check) for check in red]
    count = "a command" if len(red) == 1 else f"{len(red)} commands"
    fail = "fails" if len(red) == 1 else "fail"
    closing = [
        "Fix this and start the run again.",
        "To accept this failure as long as it stays the same, add: -c verify.base=no_worse",
        f"The whole output: orchestrator logs {run} --evidence {red[0].evidence}",
    ]
    return "\n".join([f"{count} of verify.task {fail} before any work", *parts, *closing])


def _describe_guard(check: BaseChecked) -> str:
    said = [line for line in check.tail.splitlines() if line.strip()][-SHOWN_LINES:]
    lines = [
        f"{first_line(check.command, 200)}: exit code {check.exit_code} (evidence {check.evidence})",
        *(f"  | {one_line(line, 200)}" for line in said),
    ]
    if check.missing is not None:
        lines.append(f"  {describe_missing(check.missing)}")
    return "\n".join(lines)


def describe_missing(missing: str) -> str:
    """The missing prerequisite, with the setting that provides it."""
    kind, _, name = missing.partition(" ")
    if kind == "program":
        return f"Missing prerequisite: the program {name}. {suggest_provision(name)}"
    return (
        f"Missing prerequisite: the module {name}. Add it to a lock file that setup reads, or install it "
        "in setup.commands."
    )
