"""Run gates: on the base before any agent, on a candidate, and the end-to-end scenario.

`gates/command_gate.py` decides a verdict from a command's exit, and it is recorded here. `reason_not_to_land`
in `supervision/decide.py` decides what the verdicts on a candidate mean together.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from orchestrator.containers.base import ContainerKind
from orchestrator.containers.names import gate_name
from orchestrator.engine.context import RunRecords, RunTerms, Services
from orchestrator.engine.heartbeat import heartbeat
from orchestrator.engine.setup import (
    SetupOwner,
    check_setup,
    ensure_setup_image,
    files_for_container,
    set_up_base,
)
from orchestrator.errors import CodingAgentError
from orchestrator.gates.command_gate import CommandGate, GateBegun, GateRequest, GateResult, run_gates
from orchestrator.gates.evidence import tail
from orchestrator.gates.gate import Finding, Gate, SetupGate
from orchestrator.run.facts import BaseChecked, BaseRunEnded, Before, EndToEndEnded, GateEnded, GateStarted
from orchestrator.run.state import AttemptState, RunState
from orchestrator.supervision import decide
from orchestrator.supervision.decide import BUILD, WorkItem
from orchestrator.workspace.workspace import Workspace

NOT_FOUND_EXITS = frozenset({126, 127})
"""Of a shell: the program cannot be executed, or does not exist."""
PYTEST_NO_TESTS_EXITS = frozenset({4, 5})
"""The named tests do not exist, or none were collected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The commit that gates run on, and the task and attempt it belongs to: for names, labels and facts."""

    commit: str
    kind: ContainerKind = "gate"
    task: str | None = None
    attempt: int | None = None

    @property
    def setup_owner(self) -> SetupOwner:
        return SetupOwner(task=self.task, attempt=self.attempt, is_candidate=True)


async def check_base(
    services: Services, records: RunRecords, terms: RunTerms, workspace: Workspace, state: RunState
) -> None:
    """Set the project up, then run on the base the verify commands of each unfinished task without results.

    A command that fails here is recorded and does not stop the run: the task is often there to make it pass.
    Raises SetupFailed, and CodingAgentError when a command cannot be run at all.
    """
    await set_up_base(services, records, terms, workspace)
    for item in terms.work.items:
        task = state.tasks[item.id]
        if item.checks and task.finished is None and len(task.base) < len(terms.work.gates_of(item)):
            await _check_base_of(services, records, terms, workspace, item)
    await records.journal.append(BaseRunEnded())


async def _check_base_of(
    services: Services, records: RunRecords, terms: RunTerms, workspace: Workspace, item: WorkItem
) -> None:
    gates = await _number_gates(records, terms.work.gates_of(item), item.id)
    subject = Subject(commit=records.start.base, task=item.id)
    async with aclosing(run_gates_on(services, records, terms, workspace, subject, gates)) as events:
        async for event in events:
            if not isinstance(event, GateResult):
                continue
            evidence = event.evidence
            if evidence.exit_code is None:
                raise CodingAgentError(
                    f"a verify command of task {item.id} could not be run on the base: {evidence.detail}"
                )
            fact = BaseChecked(
                gate=evidence.gate,
                command=evidence.command,
                before=before_the_work(evidence.command, evidence.exit_code),
                exit_code=evidence.exit_code,
                evidence=evidence.id,
                seconds=evidence.seconds,
            )
            await records.journal.append(fact, task=item.id)


def before_the_work(command: str, exit_code: int) -> Before:
    """What the exit code of a verify command says about the base."""
    if exit_code == 0:
        return "already_green"
    if exit_code in NOT_FOUND_EXITS or ("pytest" in command and exit_code in PYTEST_NO_TESTS_EXITS):
        return "absent"
    return "red"


async def check_candidate(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    item: WorkItem,
    attempt: AttemptState,
) -> None:
    """Run the gates that have no verdict yet on this attempt's candidate.

    Builds run again in any case: the container is a fresh one, and the other commands need what they make.
    """
    assert attempt.candidate is not None
    numbered = zip(terms.work.gates_of(item), attempt.candidate.evidence, strict=True)
    gates = tuple(
        CommandGate(name=gate.name, command=gate.command, evidence=evidence)
        for gate, evidence in numbered
        if evidence in attempt.owed_evidence or gate.name.startswith(BUILD)
    )
    subject = Subject(commit=attempt.candidate.commit, task=item.id, attempt=attempt.number)
    await _record_verdicts(services, records, terms, workspace, subject, gates)


async def check_end_to_end(
    services: Services, records: RunRecords, terms: RunTerms, workspace: Workspace
) -> None:
    """Run the scenario on the branch's commit, all commands in one container, in order."""
    commit = await workspace.user.branch_commit(records.start.branch)
    assert commit is not None
    gates = await _number_gates(records, terms.work.scenario)
    subject = Subject(commit=commit, kind="e2e")
    verdicts = await _record_verdicts(services, records, terms, workspace, subject, gates)
    await records.journal.append(
        EndToEndEnded(
            status="unavailable"
            if "unavailable" in verdicts
            else "failed"
            if "fail" in verdicts
            else "passed",
            commit=commit,
            evidence=tuple(gate.evidence for gate in gates),
        )
    )


async def _record_verdicts(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    subject: Subject,
    gates: tuple[CommandGate, ...],
) -> frozenset[str]:
    """Run the gates, append a fact before and after each command, and give the verdicts."""
    verdicts = set()
    async with aclosing(run_gates_on(services, records, terms, workspace, subject, gates)) as events:
        async for event in events:
            match event:
                case GateBegun(gate=gate):
                    fact: GateStarted | GateEnded = GateStarted(
                        gate=gate.name,
                        command=gate.command,
                        evidence=gate.evidence,
                        candidate=subject.commit,
                    )
                case GateResult():
                    fact = _gate_ended(event)
                    verdicts.add(fact.verdict)
                case Finding():
                    raise AssertionError("command gates give verdicts, not findings")
            await records.journal.append(fact, task=subject.task, attempt=subject.attempt)
    return frozenset(verdicts)


def _gate_ended(result: GateResult) -> GateEnded:
    evidence = result.evidence
    return GateEnded(
        gate=evidence.gate,
        command=evidence.command,
        verdict=evidence.verdict,
        exit_code=evidence.exit_code,
        evidence=evidence.id,
        seconds=evidence.seconds,
        candidate=evidence.candidate,
        tail=tail(result.output) + (f"\n[{evidence.detail}]" if evidence.detail else ""),
        output_sha256=evidence.output_sha256,
        image=evidence.image,
        detail=evidence.detail,
    )


async def _number_gates(
    records: RunRecords, gates: tuple[decide.Gate, ...], task: str | None = None
) -> tuple[CommandGate, ...]:
    ids = await records.journal.reserve_evidence(len(gates), task=task)
    return tuple(
        CommandGate(name=gate.name, command=gate.command, evidence=id)
        for gate, id in zip(gates, ids, strict=True)
    )


async def run_gates_on(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    subject: Subject,
    gates: tuple[Gate, ...],
) -> AsyncGenerator[GateBegun | GateResult | Finding, None]:
    """Run gates on a commit and give their results as they come. All commands share one fresh container."""
    commands: list[CommandGate] = []
    for gate in gates:
        match gate:
            case SetupGate():
                for finding in await check_setup(
                    services, records, terms, workspace, gate, subject.commit, subject.setup_owner
                ):
                    yield finding
            case CommandGate():
                commands.append(gate)
    if commands:
        events = _run_commands(services, records, terms, workspace, subject, tuple(commands))
        async with aclosing(events):
            async for event in events:
                yield event


async def _run_commands(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    subject: Subject,
    gates: tuple[CommandGate, ...],
) -> AsyncGenerator[GateBegun | GateResult, None]:
    setup = await ensure_setup_image(services, records, terms, workspace, subject.commit, subject.setup_owner)
    number = int(gates[0].evidence.removeprefix("e"))
    name = gate_name(records.run, subject.task, subject.attempt or 0, number)
    async with (
        files_for_container(records, workspace, subject.commit, name) as files,
        heartbeat(services, records, task=subject.task, attempt=subject.attempt) as beat,
    ):
        request = GateRequest(
            spec=terms.specs.gate(
                kind=subject.kind,
                name=name,
                task=subject.task,
                attempt=subject.attempt,
                image=setup.id,
                git=files.git,
            ),
            archive=files.archive,
            candidate=subject.commit,
            image=setup.id,
            gates=gates,
            timeout=terms.settings.verify.timeout,
            evidence=records.folder.evidence,
            printed=beat.printed,
        )
        async with aclosing(run_gates(services.engine, services.clock, request)) as events:
            async for event in events:
                match event:
                    case GateBegun(gate=gate):
                        beat.begin(gate.name)
                    case GateResult():
                        beat.end()
                yield event
