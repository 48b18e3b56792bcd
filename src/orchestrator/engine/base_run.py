"""The base run: set the project up, and run on the base what has to succeed later, before any agent."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from dataclasses import replace as with_changes

from msgspec.structs import replace

from orchestrator.engine.context import EarlierResult
from orchestrator.engine.cross_checks import check_without_files
from orchestrator.engine.gating import (
    CheckedCommit,
    GateContext,
    asks_for_report,
    base_checked,
    find_image,
    number_gates,
    run_commands,
)
from orchestrator.engine.result_keys import result_keys
from orchestrator.engine.setup import set_up_base
from orchestrator.gates.command_gate import CommandGate, GateResult
from orchestrator.gates.evidence import StoredEvidence, load, store
from orchestrator.gates.failures import Failure, fails_as_before
from orchestrator.run.facts import BaseRunEnded, Notice
from orchestrator.run.state import RunState
from orchestrator.supervision.base_plan import BaseCheck, plan_base_checks
from orchestrator.supervision.decide import WorkItem
from orchestrator.text import first_line
from orchestrator.workspace import history


async def check_base(context: GateContext, state: RunState) -> None:
    """Set the project up, and run on the base the commands of all tasks that are not done, each one once.

    What a red command means is decided by `decide`, after the fact that this appends last.
    Raises SetupFailed, and CodingAgentError when a command cannot be run at all.
    """
    await set_up_base(context.services, context.records, context.terms, context.workspace)
    work, base = context.terms.work, context.records.start.base
    items = [item for item in work.items if not state.tasks[item.id].is_done]
    containers = plan_base_checks(work, items) if items or work.only_base else ()
    checked = CheckedCommit(commit=base, is_candidate=False)
    image = await find_image(context, checked)
    tree = await history.tree_of(context.workspace.store, base)
    builds = tuple(BaseCheck(gate, None) for gate in work.builds)
    await _announce_found(context, items)
    for checks in containers:
        container = _BaseContainer(context=context, checked=checked, tree=tree, image=image, builds=builds)
        await container.check(checks)
    await _name_left_out(context, items)
    if work.strict:
        for item in items:
            await check_without_files(context, item, image)
    await context.records.journal.append(BaseRunEnded(image=image))


def _find_discovered(items: Sequence[WorkItem]) -> tuple[frozenset[str], str]:
    """The commands that were found in the project, and the tasks that nothing else checks, in words."""
    found = [
        {check.command.strip() for check in item.checks if check.source == "discovered"} for item in items
    ]
    count = sum(map(bool, found))
    words = f"{count} of {len(items)} tasks {'has' if count == 1 else 'have'} no check"
    return frozenset[str]().union(*found), words


async def _announce_found(context: GateContext, items: Sequence[WorkItem]) -> None:
    commands, unchecked = _find_discovered(items)
    for command in sorted(commands):
        text = (
            f"{unchecked} in the plan. `{first_line(command, 200)}` was found in the project and checks them "
            "if it passes before the work"
        )
        await context.records.journal.append(Notice(text=text))


async def _name_left_out(context: GateContext, items: Sequence[WorkItem]) -> None:
    commands, unchecked = _find_discovered(items)
    for check in context.records.journal.state.find_base_checks(sorted(commands)):
        if check.before == "already_green":
            continue
        why = "cannot run" if check.before == "absent" else f"fails with exit code {check.exit_code}"
        text = (
            f"`{first_line(check.command, 200)}` {why} before the work (evidence {check.evidence}), so it is "
            f"left out: {unchecked} and will be unverified"
        )
        await context.records.journal.append(Notice(text=text))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A command of a container, and its result if that is known."""

    check: BaseCheck
    key: str
    is_known: bool = False
    """Whether this run has the result already."""
    earlier: EarlierResult | None = None
    """The result of another run."""
    stored: StoredEvidence | None = None
    """The evidence of that result."""

    @property
    def is_taken_over(self) -> bool:
        """Whether another run's result counts; one that was not green runs again."""
        return self.earlier is not None and self.earlier.before == "already_green"

    @property
    def has_result(self) -> bool:
        return self.is_known or self.is_taken_over


@dataclass(frozen=True, slots=True, kw_only=True)
class _BaseContainer:
    """Commands that share one container on the base.

    Commands whose results are known are left out of the container. One of the others may need a file that
    they leave behind, and then fails for that reason alone. So if one fails in another way than it did with
    them, all of them run again, and only that counts.
    """

    context: GateContext
    checked: CheckedCommit
    tree: str
    image: str
    builds: tuple[BaseCheck, ...]

    async def check(self, checks: Sequence[BaseCheck]) -> None:
        everything = (*self.builds, *checks)
        commands = tuple(check.gate.command for check in everything)
        keys = result_keys(self.context.terms, tree=self.tree, image=self.image, commands=commands)
        steps = [await self._find(check, key) for check, key in zip(everything, keys, strict=True)]
        for step in steps:
            await self._take_over(step)
        to_run = [step for step in steps if not step.has_result]
        if not to_run:
            return
        numbered = await number_gates(self.context.records, [step.check.gate for step in to_run])
        ids = {step.key: gate.evidence for step, gate in zip(to_run, numbered, strict=True)}
        needed = [step for step in steps if not step.has_result or step.check in self.builds]
        if len(needed) < len(steps):
            results = await self._run(needed, ids)
            if not await self._fails_in_another_way(to_run, results):
                for step, result in zip(to_run, results, strict=True):
                    await self._record(step, result)
                return
        await self._run(steps, ids, record=True)

    async def _find(self, check: BaseCheck, key: str) -> _Step:
        state = self.context.records.journal.state
        found = state.results.get(key)
        if found is not None and (found.exit_code == 0 or found.epoch == state.epoch):
            return _Step(check=check, key=key, is_known=True)
        earlier = self.context.records.earlier.get(key)
        stored = None if earlier is None else await asyncio.to_thread(load, earlier.folder, earlier.evidence)
        if stored is None:
            return _Step(check=check, key=key)
        return _Step(check=check, key=key, earlier=earlier, stored=stored)

    async def _take_over(self, step: _Step) -> None:
        """Record another run's result as one of this run, with a copy of its evidence."""
        earlier, stored, records = step.earlier, step.stored, self.context.records
        if not step.is_taken_over or earlier is None or stored is None:
            return
        (gate,) = await number_gates(records, [step.check.gate])
        copied = with_changes(
            stored.evidence,
            id=gate.evidence,
            gate=gate.gate.name,
            candidate=self.checked.commit,
            reused=f"{earlier.run}/{earlier.evidence}",
        )
        await asyncio.to_thread(store, records.folder.evidence, copied, stored.output)
        fact = base_checked(GateResult(evidence=copied, output=stored.output), gate.gate, step.key)
        age = (self.context.services.clock.now() - earlier.at).total_seconds()
        fact = replace(fact, reused=copied.reused, age_seconds=max(age, 0.0))
        await records.journal.append(fact, task=step.check.task)

    async def _run(
        self, steps: Sequence[_Step], ids: Mapping[str, str], *, record: bool = False
    ) -> list[GateResult]:
        """The results of those steps that have an evidence id; the others run for what they leave behind."""
        first = next(iter(ids.values()))
        gates = tuple(
            CommandGate(
                name=step.check.gate.name,
                command=step.check.gate.command,
                evidence=ids.get(step.key, first),
                asks_for_report=asks_for_report(self.context, step.check.gate.check),
                is_preparation=step.key not in ids,
            )
            for step in steps
        )
        by_evidence = {ids[step.key]: step for step in steps if step.key in ids}
        results = []
        async with aclosing(run_commands(self.context, self.checked, self.image, gates)) as events:
            async for event in events:
                if isinstance(event, GateResult):
                    results.append(event)
                    if record:
                        await self._record(by_evidence[event.evidence.id], event)
        return results

    async def _record(self, step: _Step, result: GateResult) -> None:
        fact = base_checked(result, step.check.gate, step.key)
        await self.context.records.journal.append(fact, task=step.check.task)

    async def _fails_in_another_way(self, steps: Sequence[_Step], results: Sequence[GateResult]) -> bool:
        """Whether a command fails that another run has not seen fail in this way."""
        for step, result in zip(steps, results, strict=True):
            evidence = result.evidence
            if not evidence.exit_code:
                continue
            if step.stored is None or not step.stored.evidence.exit_code:
                return True
            before = _failure(step.stored)
            if not fails_as_before(evidence.command, before, _failure(result)):
                return True
        return False


def _failure(found: GateResult | StoredEvidence) -> Failure:
    return Failure(found.evidence.exit_code or 0, found.output, found.evidence.failed_tests)
