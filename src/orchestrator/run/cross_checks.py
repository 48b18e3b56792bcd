"""The proof that a command gives: its results on other trees than the candidate's, as one word. Pure.

A command that passes on a candidate may pass without the work as well, and then its pass proves nothing. So
it is judged together with its result on the code from before the work, with the candidate's own check files
laid over it: only a command that fails there depends on the work.
"""

from typing import Literal

from orchestrator.run.facts import BaseChecked, CheckSource, CrossChecked, CrossTree, GateEnded
from orchestrator.run.state import AttemptState, RunState, TaskState

Proof = Literal["red", "discriminating", "already_green", "absent", "vacuous"]
"""How a command ended without the work.

    red             it failed before the work; the check files of the candidate were not there
    discriminating  it fails on the code from before the work with the candidate's check files
    already_green   it passed there
    absent          something that it needs was not there
    vacuous         it passed there, and it passes in an empty folder, too
"""


def source_of(gate: GateEnded) -> CheckSource:
    """Who asked for the command; journals of earlier versions do not say it."""
    if gate.source is not None:
        return gate.source
    name = gate.gate.partition("-")[0]
    return "build" if name == "build" else "scenario" if name == "e2e" else "task"


def find_proof(state: RunState, task: TaskState, attempt: AttemptState, gate: GateEnded) -> Proof | None:
    """How this command of the attempt's candidate ended without the work; None if it is not known."""
    crossed = _find_cross_check(attempt, "fail_to_pass", gate)
    if crossed is not None:
        return _judge_crossed(state, attempt, gate, crossed)
    if gate.before is not None:
        return gate.before
    found = state.find_base_checks([gate.command])
    on_base = found[-1] if found else None
    is_guard = source_of(gate) == "configured" or (on_base is not None and on_base.is_guard)
    if not is_guard and attempt.candidate is not None and attempt.candidate.check_files == ():
        return _judge_without_check_files(state, task, attempt, gate, on_base)
    return None if on_base is None else on_base.before


def _judge_without_check_files(
    state: RunState, task: TaskState, attempt: AttemptState, gate: GateEnded, on_base: BaseChecked | None
) -> Proof | None:
    """The candidate has no check files, so the commit before the work is the crossed tree."""
    assert attempt.candidate is not None
    if not attempt.candidate.changed and gate.verdict == "pass":
        return "vacuous" if is_vacuous(state, attempt, gate.command) else "already_green"
    if task.parent == state.start.base and on_base is not None:
        if on_base.before == "already_green" and is_vacuous(state, attempt, gate.command):
            return "vacuous"
        return "discriminating" if on_base.before == "red" else on_base.before
    known = None if task.parent is None else state.find_result(task.parent, gate.command)
    if known is None:
        return None if on_base is None else on_base.before
    if known.exit_code != 0:
        return "discriminating"
    return "vacuous" if is_vacuous(state, attempt, gate.command) else "already_green"


def _judge_crossed(
    state: RunState, attempt: AttemptState, gate: GateEnded, crossed: CrossChecked
) -> Proof | None:
    match crossed.result:
        case "fail":
            return "discriminating"
        case "pass":
            return "vacuous" if is_vacuous(state, attempt, gate.command) else "already_green"
        case "absent":
            return "absent"
        case _:
            return None


def is_vacuous(state: RunState, attempt: AttemptState | None, command: str) -> bool:
    """Whether the command passes in an empty folder."""
    cross_checks = (*state.cross_checks, *(() if attempt is None else attempt.cross_checks))
    return any(
        each.corner == "empty_tree" and each.result == "pass" and each.command.strip() == command.strip()
        for each in cross_checks
    )


def find_old_checks(attempt: AttemptState, gate: GateEnded) -> CrossChecked | None:
    """The command's result on the candidate's code with the check files from before the work."""
    return _find_cross_check(attempt, "unchanged_checks", gate)


def _find_cross_check(attempt: AttemptState, on: CrossTree, gate: GateEnded) -> CrossChecked | None:
    return next((each for each in attempt.cross_checks if (each.corner, each.gate) == (on, gate.gate)), None)
