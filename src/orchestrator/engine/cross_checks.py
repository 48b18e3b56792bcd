"""Cross-checks: the commands of a candidate that passed run once more on the code from before the work.

The code is that of the commit on which the task's first attempt started, with the check files that the
candidate has added or changed. A command that passes there as well does not depend on the work, so its pass
on the candidate proves nothing. This is how a test is found that an agent wrote so that it always passes.

No container runs where every result is known: in the base run of the first task, for example, if its
candidate has no check files. The time of a command is limited by what it took on the candidate, because code
that lacks the work can hang.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from dataclasses import replace as with_changes

from orchestrator.containers.names import component
from orchestrator.engine.gating import (
    CheckedCommit,
    GateContext,
    NumberedGate,
    find_image,
    number_gates,
    run_commands,
)
from orchestrator.engine.result_keys import result_keys
from orchestrator.errors import CodingAgentError
from orchestrator.gates.check_files import classify, find_scripts, is_byte_code, leave_out_named
from orchestrator.gates.command_gate import CommandGate, GateResult
from orchestrator.gates.evidence import load, store
from orchestrator.gates.failures import judge_before_the_work
from orchestrator.plan.model import Task
from orchestrator.run.cross_checks import find_proof, source_of
from orchestrator.run.facts import CrossChecked, CrossResult, CrossTree
from orchestrator.run.handoff import may_be_handoff
from orchestrator.run.state import AttemptState, TaskState
from orchestrator.supervision.decide import Gate, WorkItem, list_candidate_gates, reason_not_to_land
from orchestrator.workspace import history

SHORTEST_LIMIT_SECONDS = 60.0
TIMES_LONGER = 3
_NOT_ASKED = ("configured", "build", "scenario")
"""Sources of commands that say what must not break: they pass without the work."""


def filter_check_files(
    task: Task, plan: str, commands: Sequence[str], paths: Sequence[str]
) -> tuple[str, ...]:
    """Those of these paths that judge the work; the plan and hand-off documents do not.

    A script that the task asks for is its work.
    """
    scripts = leave_out_named(find_scripts(commands), _read_without_commands(task))
    others = [path for path in paths if path != plan and not may_be_handoff(path)]
    return tuple(path for path in others if classify(path, scripts) is not None)


def _read_without_commands(task: Task) -> str:
    """The text of the task without its commands, which name the scripts that judge."""
    text = "\n".join((task.section, *task.files))
    lines = {line.strip() for block in (*task.verify, *task.smoke_tests) for line in block.splitlines()}
    for line in sorted(lines - {""}, key=len, reverse=True):
        text = text.replace(line, "")
    return text


def limit_time(seconds: float, timeout: float) -> float:
    """How long a command may take that took these seconds on the candidate."""
    return min(max(SHORTEST_LIMIT_SECONDS, TIMES_LONGER * seconds), timeout)


async def check_fail_to_pass(context: GateContext, item: WorkItem) -> None:
    """Run the commands of a candidate on the code from before the work, unless their results are known.

    A command that passes there runs once more on a tree without any file: if it passes even there, it checks
    nothing. Each result becomes one fact. If the engine could not run a command, its result is `unavailable`,
    and the candidate does not land.
    """
    task = context.records.journal.state.tasks[item.id]
    attempt = _find_passed(context, item, task)
    if attempt is None or attempt.candidate is None or task.parent is None:
        return
    judged = [gate for gate in attempt.gates if source_of(gate) not in _NOT_ASKED]
    asked = [gate.gate for gate in judged]
    if not asked:
        return
    parent = task.parent
    run = CrossCheckRun(
        context=context, item=item, gates=_list_gates(context, item, attempt), attempt=attempt
    )
    image = await find_image(context, CheckedCommit(commit=parent, is_candidate=False))
    if attempt.candidate.changed:
        paths = await _list_check_files(context, item, task, attempt)
        ref = f"refs/ktrdr/crossed/{context.records.run}/{component(item.id)}/{attempt.number}"
        crossed = await cross_trees(context, parent, attempt.candidate.commit, paths, ref)
        await run.check("fail_to_pass", crossed, image, asked, is_silent=not paths)
    state = context.records.journal.state
    last = state.tasks[item.id].last
    assert last is not None
    green = [gate.gate for gate in judged if find_proof(state, task, last, gate) == "already_green"]
    if green:
        await run.check("empty_tree", await _commit_nothing(context, parent), image, green)


async def check_without_files(context: GateContext, item: WorkItem, image: str) -> None:
    """Before any attempt: run the task's own commands on an empty tree, as far as they pass on the base."""
    state, base = context.records.journal.state, context.records.start.base
    gates = context.terms.work.gates_of(item)
    green = {
        check.command.strip()
        for check in state.find_base_checks(gate.command for gate in gates)
        if check.before == "already_green"
    }
    asked = [gate.name for gate in gates if gate.check.source == "task" and gate.command.strip() in green]
    if asked:
        run = CrossCheckRun(context=context, item=item, gates=gates)
        await run.check("empty_tree", await _commit_nothing(context, base), image, asked)
    unavailable = [
        each for each in context.records.journal.state.cross_checks if each.result == "unavailable"
    ]
    if unavailable:
        raise CodingAgentError(f"{unavailable[0].gate} could not be run: {unavailable[0].detail}")


async def _commit_nothing(context: GateContext, parent: str) -> str:
    ref = f"refs/ktrdr/crossed/{context.records.run}/empty"
    return await context.workspace.store.commit_nothing(
        parent=parent, ref=ref, base=context.records.start.base
    )


def _list_gates(context: GateContext, item: WorkItem, attempt: AttemptState) -> tuple[Gate, ...]:
    assert attempt.candidate is not None
    state, by_hand = context.records.journal.state, attempt.candidate.by_hand
    return list_candidate_gates(context.terms.work, item, state, attempt, by_hand=by_hand)


def _find_passed(context: GateContext, item: WorkItem, task: TaskState) -> AttemptState | None:
    """The task's last attempt if its candidate would land and is to show that its commands failed before."""
    last = task.last
    if not context.terms.settings.verify.red_to_green or last is None or task.accepted is not None:
        return None
    if last.candidate is None or any(gate.verdict != "pass" for gate in last.gates) or last.owed_evidence:
        return None
    return last if reason_not_to_land(last, item) is None else None


async def _list_check_files(
    context: GateContext, item: WorkItem, task: TaskState, attempt: AttemptState
) -> tuple[str, ...]:
    assert attempt.candidate is not None and task.parent is not None
    changes = await history.changes(context.workspace.store, task.parent, attempt.candidate.commit)
    paths = [change.path for change in changes if change.status != "deleted"]
    commands = [gate.command for gate in attempt.gates]
    return filter_check_files(context.terms.task(item.id), context.terms.plan.path, commands, paths)


async def cross_trees(context: GateContext, old: str, new: str, paths: tuple[str, ...], ref: str) -> str:
    """A commit with these paths of `new` and all others of `old`, under `ref`; `old` if nothing differs.

    Compiled Python of the old side is left out: it could be taken for that of a new source.
    """
    byte_code = [path for path in await history.files(context.workspace.store, old) if is_byte_code(path)]
    if not paths and not byte_code:
        return old
    return await context.workspace.store.commit_paths(
        paths=paths,
        removed=tuple(byte_code),
        tree=new,
        parent=old,
        message="The code from before the work with new check files\n",
        ref=ref,
        base=context.records.start.base,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
    """The tree on which commands run, and the image of their container."""

    kind: CrossTree
    tree: str
    commit: str
    image: str


class CrossCheckRun:
    """The commands of one candidate, or of a task before any attempt, on other trees."""

    def __init__(
        self,
        *,
        context: GateContext,
        item: WorkItem,
        gates: tuple[Gate, ...],
        attempt: AttemptState | None = None,
    ) -> None:
        self._context, self._item, self._gates = context, item, gates
        self._number = None if attempt is None else attempt.number
        took = () if attempt is None else attempt.gates
        self._took = {gate.gate: gate.seconds for gate in took}

    async def check(
        self,
        kind: CrossTree,
        commit: str,
        image: str,
        asked: Sequence[str],
        *,
        is_silent: bool = False,
    ) -> None:
        """Append a fact for each of the gates with these names.

        `is_silent`: none where all results are known. The whole list runs, because a command can depend on
        what those before it have started.
        """
        context = self._context
        last = max(at for at, gate in enumerate(self._gates) if gate.name in asked)
        gates = self._gates[: last + 1]
        tree = await history.tree_of(context.workspace.store, commit)
        commands = tuple(gate.command for gate in gates)
        keys = dict(
            zip(
                (gate.name for gate in gates),
                result_keys(context.terms, tree=tree, image=image, commands=commands),
                strict=True,
            )
        )
        wanted = [gate for gate in gates if gate.name in asked]
        results = context.records.journal.state.results
        known = all(keys[gate.name] in results for gate in wanted)
        if known and is_silent:
            return
        numbered = await number_gates(context.records, wanted, task=self._item.id)
        where = _Where(kind=kind, tree=tree, commit=commit, image=image)
        if known and await self._take_copies(numbered, keys, where):
            return
        await self._run(gates, numbered, keys, where)

    async def _take_copies(
        self, numbered: Sequence[NumberedGate], keys: Mapping[str, str], where: _Where
    ) -> bool:
        """Record known results with evidence of their own; False if an evidence is gone."""
        folder, state = self._context.records.folder.evidence, self._context.records.journal.state
        found = []
        for each in numbered:
            known = state.results[keys[each.gate.name]]
            stored = await asyncio.to_thread(load, folder, known.evidence)
            if stored is None:
                return False
            found.append((each, stored, known.evidence))
        for each, stored, evidence in found:
            copied = with_changes(
                stored.evidence,
                id=each.evidence,
                gate=each.gate.name,
                candidate=where.commit,
                reused=evidence,
            )
            await asyncio.to_thread(store, folder, copied, stored.output)
            await self._append(GateResult(evidence=copied, output=stored.output), each, keys, where)
        return True

    async def _run(
        self,
        gates: Sequence[Gate],
        numbered: Sequence[NumberedGate],
        keys: Mapping[str, str],
        where: _Where,
    ) -> None:
        context, by_name = self._context, {each.gate.name: each for each in numbered}
        by_evidence = {each.evidence: each for each in numbered}
        timeout = context.terms.settings.verify.timeout
        given = tuple(
            CommandGate(
                name=gate.name,
                command=gate.command,
                evidence=by_name[gate.name].evidence if gate.name in by_name else numbered[0].evidence,
                timeout=limit_time(self._took.get(gate.name, 0.0), timeout),
                is_preparation=gate.name not in by_name,
            )
            for gate in gates
        )
        checked = CheckedCommit(commit=where.commit, task=self._item.id, attempt=self._number)
        async with aclosing(run_commands(context, checked, where.image, given)) as events:
            async for event in events:
                if isinstance(event, GateResult):
                    await self._append(event, by_evidence[event.evidence.id], keys, where)

    async def _append(
        self, result: GateResult, numbered: NumberedGate, keys: Mapping[str, str], where: _Where
    ) -> None:
        evidence = result.evidence
        fact = CrossChecked(
            corner=where.kind,
            gate=numbered.gate.name,
            command=evidence.command,
            result=judge_cross_check(evidence.command, evidence.exit_code),
            exit_code=evidence.exit_code,
            evidence=evidence.id,
            seconds=evidence.seconds,
            tree=where.tree,
            image=where.image,
            commit=where.commit,
            key=keys[numbered.gate.name],
            reused=evidence.reused,
            detail=evidence.detail,
        )
        await self._context.records.journal.append(fact, task=self._item.id, attempt=self._number)


def judge_cross_check(command: str, exit_code: int | None) -> CrossResult:
    """The result of a command on another tree, by its exit code; None: it could not be run."""
    if exit_code is None:
        return "unavailable"
    words: Mapping[str, CrossResult] = {"already_green": "pass", "red": "fail", "absent": "absent"}
    return words[judge_before_the_work(command, exit_code)]
