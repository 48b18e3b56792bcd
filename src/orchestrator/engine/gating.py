"""Gates of a run: on the base before any agent, on a candidate, and the end-to-end scenario."""

import shutil
from dataclasses import dataclass

from orchestrator.containers.base import ContainerKind
from orchestrator.containers.names import gate_name
from orchestrator.engine.context import RunContext
from orchestrator.engine.heartbeat import Progress, progress_told
from orchestrator.engine.setup import For, set_up_base, setup_image
from orchestrator.errors import CodingAgentError
from orchestrator.gates.command_gate import GateCommand, GateRequest, GateResult, run_gates
from orchestrator.gates.evidence import tail
from orchestrator.run.facts import BaseChecked, BaseRunEnded, Before, EndToEndEnded, GateEnded, GateStarted
from orchestrator.run.state import AttemptState
from orchestrator.supervision.decide import BUILD, WorkItem
from orchestrator.workspace import container_git

NOT_THERE_EXITS = frozenset({126, 127})
PYTEST_NOT_THERE_EXITS = frozenset({4, 5})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a gate belongs, for names, labels and facts."""

    kind: ContainerKind
    task: str | None
    attempt: int | None

    @property
    def number(self) -> int:
        return self.attempt or 0


class _Recorder:
    """Writes what gates say as facts."""

    def __init__(self, context: RunContext, place: _Place, candidate: str) -> None:
        self._context = context
        self._place = place
        self._candidate = candidate
        self.results: list[GateResult] = []

    async def started(self, command: GateCommand) -> None:
        body = GateStarted(
            gate=command.gate,
            command=command.command,
            evidence=command.evidence,
            candidate=self._candidate,
        )
        await self._context.journal.append(body, task=self._place.task, attempt=self._place.attempt)

    async def ended(self, result: GateResult) -> None:
        self.results.append(result)
        evidence = result.evidence
        body = GateEnded(
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
        await self._context.journal.append(body, task=self._place.task, attempt=self._place.attempt)


class _BaseRecorder:
    """For the base run: what a command says there is a finding, never a failure."""

    def __init__(self, context: RunContext, task: str) -> None:
        self._context = context
        self._task = task

    async def started(self, command: GateCommand) -> None:
        pass

    async def ended(self, result: GateResult) -> None:
        evidence = result.evidence
        if evidence.exit_code is None:
            raise CodingAgentError(f"the base run of task {self._task} could not be done: {evidence.detail}")
        body = BaseChecked(
            gate=evidence.gate,
            command=evidence.command,
            before=before_the_work(evidence.command, evidence.exit_code),
            exit_code=evidence.exit_code,
            evidence=evidence.id,
            seconds=evidence.seconds,
        )
        await self._context.journal.append(body, task=self._task)


class _Watcher:
    """What is to be known of running gates: facts, and signs of life between them."""

    def __init__(self, recorder: _Recorder | _BaseRecorder, progress: Progress) -> None:
        self._recorder = recorder
        self._progress = progress

    async def started(self, command: GateCommand) -> None:
        await self._recorder.started(command)
        self._progress.begin(command.gate)

    def printed(self, data: bytes) -> None:
        self._progress.printed(data)

    async def ended(self, result: GateResult) -> None:
        self._progress.end()
        await self._recorder.ended(result)


def before_the_work(command: str, exit_code: int) -> Before:
    """What the exit code of a verify command means on the base."""
    if exit_code == 0:
        return "already_green"
    if exit_code in NOT_THERE_EXITS or ("pytest" in command and exit_code in PYTEST_NOT_THERE_EXITS):
        return "absent"
    return "red"


async def check_base(context: RunContext) -> None:
    """Set the project up, then run every verify command of the run's tasks on the base.

    Raises SetupFailed, and CodingAgentError when a command cannot be run.
    """
    base = context.journal.state.start.base
    await set_up_base(context)
    for item in context.work.items:
        task = context.journal.state.tasks[item.id]
        if item.commands and task.finished is None and len(task.base) < len(context.work.gates_of(item)):
            await _check_base_of(context, item, base)
    await context.journal.append(BaseRunEnded())


async def _check_base_of(context: RunContext, item: WorkItem, base: str) -> None:
    gates = context.work.gates_of(item)
    evidence = await context.journal.reserve_evidence(len(gates), task=item.id)
    commands = tuple(
        GateCommand(gate=gate.name, command=gate.command, evidence=id)
        for gate, id in zip(gates, evidence, strict=True)
    )
    place = _Place(kind="gate", task=item.id, attempt=None)
    recorder = _BaseRecorder(context, item.id)
    await _run(context, place, base, commands, recorder)


async def check_candidate(context: RunContext, item: WorkItem, attempt: AttemptState) -> None:
    """Run the task's gates that have not spoken yet on this attempt's candidate; builds in any case."""
    assert attempt.candidate is not None
    numbered = zip(context.work.gates_of(item), attempt.candidate.evidence, strict=True)
    commands = tuple(
        GateCommand(gate=gate.name, command=gate.command, evidence=evidence)
        for gate, evidence in numbered
        if evidence in attempt.owed_evidence or gate.name.startswith(BUILD)
    )
    place = _Place(kind="gate", task=item.id, attempt=attempt.number)
    recorder = _Recorder(context, place, attempt.candidate.commit)
    await _run(context, place, attempt.candidate.commit, commands, recorder)


async def check_end_to_end(context: RunContext) -> None:
    """Run the scenario on what has landed; all commands share one container, in order."""
    commit = await context.workspace.user.branch_commit(context.journal.state.start.branch)
    assert commit is not None
    evidence = await context.journal.reserve_evidence(len(context.work.scenario))
    commands = tuple(
        GateCommand(gate=gate.name, command=gate.command, evidence=id)
        for gate, id in zip(context.work.scenario, evidence, strict=True)
    )
    place = _Place(kind="e2e", task=None, attempt=None)
    recorder = _Recorder(context, place, commit)
    await _run(context, place, commit, commands, recorder)
    verdicts = {result.evidence.verdict for result in recorder.results}
    await context.journal.append(
        EndToEndEnded(
            status="unavailable"
            if "unavailable" in verdicts
            else "failed"
            if "fail" in verdicts
            else "passed",
            commit=commit,
            evidence=tuple(command.evidence for command in commands),
        )
    )


async def _run(
    context: RunContext,
    place: _Place,
    commit: str,
    commands: tuple[GateCommand, ...],
    recorder: _Recorder | _BaseRecorder,
) -> None:
    """Prepare the candidate for a fresh container, run the commands in it, and leave nothing behind."""
    setup = await setup_image(context, commit, For(task=place.task, attempt=place.attempt, is_candidate=True))
    owner = context.workspace.tree.owner
    number = int(commands[0].evidence.removeprefix("e"))
    name = gate_name(context.run, place.task, place.number, number)
    scratch = context.folder.gate(name)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True, mode=0o700)
    try:
        archive = scratch / "candidate.tar"
        await container_git.write_gate_archive(
            context.workspace.store, commit, archive, uid=owner.uid, gid=owner.gid
        )
        branch = context.journal.state.start.branch
        mounts = await container_git.make_gate_git_dir(
            context.workspace.store, scratch / "git", commit=commit, branch=branch
        )
        spec = context.specs.gate(
            kind=place.kind, name=name, task=place.task, attempt=place.attempt, image=setup.id, git=mounts
        )
        request = GateRequest(
            spec=spec,
            archive=archive,
            candidate=commit,
            image=setup.id,
            commands=commands,
            timeout=context.settings.verify.timeout,
            evidence=context.folder.evidence,
        )
        async with progress_told(context, task=place.task, attempt=place.attempt) as progress:
            await run_gates(context.engine, request, _Watcher(recorder, progress))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
