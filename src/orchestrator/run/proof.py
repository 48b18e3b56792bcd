"""The checks that a task's commit has passed, beside the results of the same commands before the work.

A check that passes proves little by itself: it may have passed before, too. So each check stands beside its
result on the base of the run, where that is known.
"""

from typing import Any

from msgspec import Struct

from orchestrator.run.facts import Before, GateEnded, Verdict
from orchestrator.run.report import Owner, run_json
from orchestrator.run.state import RunState, TaskState


class CheckProof(Struct, frozen=True, kw_only=True):
    gate: str
    command: str
    source: str | None
    """None in journals of earlier versions."""
    verdict: Verdict
    exit_code: int | None
    seconds: float
    evidence: str
    before: Before | None
    """How the command ended before the work; None if it was not run there."""
    fails_as_before: bool
    """Whether it passes only because it fails as it did before (`verify.base = "no_worse"`)."""


def list_checks(state: RunState, task: TaskState) -> tuple[CheckProof, ...]:
    """The checks of the task's last candidate, in their order; none for a task without a candidate."""
    gates = () if task.last is None else task.last.gates
    return tuple(_describe(state, gate) for gate in gates)


def list_final_checks(state: RunState) -> tuple[CheckProof, ...]:
    """The checks of the end-to-end scenario."""
    return tuple(_describe(state, gate) for gate in state.end_to_end_gates)


def _describe(state: RunState, gate: GateEnded) -> CheckProof:
    on_base = state.find_base_checks([gate.command])
    return CheckProof(
        gate=gate.gate,
        command=gate.command,
        source=gate.source,
        verdict=gate.verdict,
        exit_code=gate.exit_code,
        seconds=gate.seconds,
        evidence=gate.evidence,
        before=gate.before or (on_base[-1].before if on_base else None),
        fails_as_before=gate.fails_as_before and gate.verdict == "pass",
    )


def has_passed_before(checks: tuple[CheckProof, ...]) -> bool:
    """Whether there are checks and each of them passed before the work, so that none shows what was done."""
    return bool(checks) and all(check.before == "already_green" for check in checks)


def report_json(state: RunState, owner: Owner | None) -> dict[str, Any]:
    """The object of `report --json`: a run as in `status`, with the checks of each task."""
    found = run_json(state, owner)
    for shown, task in zip(found["tasks"], state.tasks.values(), strict=True):
        shown["gates"] = [_check_json(check) for check in list_checks(state, task)]
        shown["findings"] = []
    if found["e2e"] is not None:
        found["e2e"]["gates"] = [_check_json(check) for check in list_final_checks(state)]
    return found


def _check_json(check: CheckProof) -> dict[str, Any]:
    return {
        "gate": check.gate,
        "command": check.command,
        "source": check.source,
        "verdict": check.verdict,
        "exit_code": check.exit_code,
        "seconds": check.seconds,
        "evidence": check.evidence,
        "before": check.before,
        "with_old_checks": None,
        "flaky": False,
        "runs": 1,
    }
