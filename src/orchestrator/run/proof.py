"""The checks that a task's commit has passed, and how the same commands ended without the work.

A check that passes proves little by itself: it may pass without the work, too. `run/cross_checks.py` decides
which of its other results counts.
"""

from typing import Any

from msgspec import Struct

from orchestrator.run.cross_checks import Proof, find_old_checks, find_proof, source_of
from orchestrator.run.facts import CheckSource, CrossResult, GateEnded, Verdict
from orchestrator.run.report import Owner, run_json
from orchestrator.run.state import RunState, TaskState
from orchestrator.text import one_line


class CheckProof(Struct, frozen=True, kw_only=True):
    gate: str
    command: str
    source: CheckSource
    verdict: Verdict
    exit_code: int | None
    seconds: float
    evidence: str
    before: Proof | None
    """How the command ended without the work; None if it was not run there."""
    with_old_checks: CrossResult | None = None
    """How it ended on the candidate's code with the check files from before the work."""
    flaky: bool = False
    """Whether it ended differently in several rounds on the same files."""
    runs: int = 1
    """How many rounds it has run."""
    fails_as_before: bool
    """Whether it passes only because it fails as it did before (`verify.base = "no_worse"`)."""


def list_checks(state: RunState, task: TaskState) -> tuple[CheckProof, ...]:
    """The checks of the task's last candidate, in their order; none for a task without a candidate."""
    last = task.last
    if last is None:
        return ()
    found = []
    for gate in last.gates:
        old = find_old_checks(last, gate)
        with_old_checks = None if old is None or old.result == "unavailable" else old.result
        found.append(_describe(gate, find_proof(state, task, last, gate), with_old_checks))
    return tuple(found)


def list_final_checks(state: RunState) -> tuple[CheckProof, ...]:
    """The checks of the end-to-end scenario."""
    found = []
    for gate in state.end_to_end_gates:
        on_base = state.find_base_checks([gate.command])
        found.append(_describe(gate, gate.before or (on_base[-1].before if on_base else None), None))
    return tuple(found)


def _describe(gate: GateEnded, before: Proof | None, with_old_checks: CrossResult | None) -> CheckProof:
    return CheckProof(
        gate=gate.gate,
        command=gate.command,
        source=source_of(gate),
        verdict=gate.verdict,
        exit_code=gate.exit_code,
        seconds=gate.seconds,
        evidence=gate.evidence,
        before=before,
        with_old_checks=with_old_checks,
        flaky=gate.flaky,
        runs=gate.round,
        fails_as_before=gate.fails_as_before and gate.verdict == "pass",
    )


def has_passed_before(checks: tuple[CheckProof, ...]) -> bool:
    """Whether there are checks and each of them passes without the work, so that none shows what was done."""
    chosen = [check for check in checks if check.source != "build"]
    return bool(chosen) and all(check.before in ("already_green", "vacuous") for check in chosen)


def is_by_agent(checks: tuple[CheckProof, ...]) -> bool:
    """Whether the agent has chosen every command that checks the task."""
    chosen = [check for check in checks if check.source != "build"]
    return bool(chosen) and all(check.source == "agent" for check in chosen)


def describe_thin_proofs(state: RunState) -> str | None:
    """How many verified tasks only the agent's own command or only guards have checked; None if none."""
    by_agent, by_guards = [], []
    for id, task in state.tasks.items():
        if task.finished is None or task.finished.verification != "verified":
            continue
        checks = list_checks(state, task)
        if is_by_agent(checks):
            by_agent.append(id)
        elif has_passed_before(checks):
            by_guards.append(id)
    found = [(by_agent, "by the agent's own command"), (by_guards, "only by guards")]
    parts = [f"{len(ids)} {how} ({one_line(', '.join(ids), 200)})" for ids, how in found if ids]
    return f"Of the verified tasks, {', '.join(parts)}" if parts else None


def report_json(state: RunState, owner: Owner | None) -> dict[str, Any]:
    """The object of `report --json`: a run as in `status`, with the checks of each task."""
    found = run_json(state, owner)
    for shown, task in zip(found["tasks"], state.tasks.values(), strict=True):
        shown["gates"] = [_check_json(check) for check in list_checks(state, task)]
        shown["findings"] = []
        shown["undeclared_files"] = [] if task.finished is None else list(task.finished.undeclared_files)
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
        "with_old_checks": check.with_old_checks,
        "flaky": check.flaky,
        "runs": check.runs,
    }
