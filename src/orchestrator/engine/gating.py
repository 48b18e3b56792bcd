"""Run commands on a commit: the gates of a candidate, and the end-to-end scenario.

`gates/command_gate.py` decides a verdict from a command's exit, and it is recorded here. `reason_not_to_land`
in `supervision/decide.py` decides what the verdicts on a candidate mean together. `engine/base_run.py` has
the checks before any agent.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from dataclasses import replace as with_changes
from itertools import takewhile
from typing import NamedTuple

from msgspec.structs import replace

from orchestrator.containers.base import ContainerKind
from orchestrator.containers.names import gate_name
from orchestrator.engine.context import RunRecords, RunTerms, Services
from orchestrator.engine.heartbeat import heartbeat
from orchestrator.engine.result_keys import result_keys
from orchestrator.engine.setup import SetupOwner, ensure_setup_image, files_for_container
from orchestrator.errors import CodingAgentError
from orchestrator.gates.command_gate import (
    ADDOPTS,
    CommandGate,
    ContainerLost,
    GateBegun,
    GateRequest,
    GateResult,
    run_gates,
)
from orchestrator.gates.evidence import load, store, tail
from orchestrator.gates.failures import (
    Failure,
    fails_as_before,
    find_missing,
    finds_no_tests,
    judge_before_the_work,
)
from orchestrator.run.facts import BaseChecked, Before, EndToEndEnded, GateEnded, GateStarted, Notice
from orchestrator.run.state import AttemptState, KnownResult
from orchestrator.supervision.decide import Check, Gate, WorkItem, list_candidate_gates
from orchestrator.text import one_line
from orchestrator.workspace import history
from orchestrator.workspace.scratch import is_named_like_scratch
from orchestrator.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class GateContext:
    """Everything that the commands of gates and of the base run are carried out with."""

    services: Services
    records: RunRecords
    terms: RunTerms
    workspace: Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCommit:
    """The commit that commands run on, and its task and attempt: for names, labels and facts."""

    commit: str
    kind: ContainerKind = "gate"
    task: str | None = None
    attempt: int | None = None
    is_candidate: bool = True
    """Whether an agent made the commit."""

    @property
    def setup_owner(self) -> SetupOwner:
        if not self.is_candidate:
            return SetupOwner()
        return SetupOwner(task=self.task, attempt=self.attempt, is_candidate=True)


class NumberedGate(NamedTuple):
    gate: Gate
    evidence: str
    """The id that its evidence gets."""

    @property
    def check(self) -> Check:
        return self.gate.check


async def check_candidate(context: GateContext, item: WorkItem, attempt: AttemptState, parent: str) -> None:
    """Run the gates of this attempt's candidate, as far as the run does not know their results.

    `parent` is the commit on which the task began; how a guard ended there can excuse one that fails.
    """
    assert attempt.candidate is not None
    state, by_hand = context.records.journal.state, attempt.candidate.by_hand
    given = list_candidate_gates(context.terms.work, item, state, attempt, by_hand=by_hand)
    gates = zip(given, attempt.candidate.evidence, strict=True)
    numbered = tuple(NumberedGate(gate, evidence) for gate, evidence in gates)
    checked = CheckedCommit(commit=attempt.candidate.commit, task=item.id, attempt=attempt.number)
    ended = await _judge(context, checked, numbered, parent)
    ended = await run_again_if_new(context, checked, numbered, ended, parent)
    failed = [gate for gate in ended if gate.verdict == "fail"]
    if failed:
        baseline = await context.workspace.tree.baseline()
        missing = describe_missing_files(failed, sorted(baseline.ignored))
        if missing is not None:
            await context.records.journal.append(Notice(text=missing), task=item.id, attempt=attempt.number)


def describe_missing_files(failed: Sequence[GateEnded], ignored: Iterable[str]) -> str | None:
    """Names the ignored files of the folder that a failed gate did not have; None if there are none.

    Those that its command or the end of its output names come first. What tools leave behind does not count:
    gates have their own.
    """
    said = "\n".join(f"{gate.command}\n{gate.tail}" for gate in failed)
    paths = [path for path in ignored if not is_named_like_scratch(path)]
    named = [path for path in paths if _is_named_in(path.rstrip("/").rpartition("/")[2], said)]
    shown = named[:3] or paths[:1]
    if not shown:
        return None
    files = ", ".join(one_line(path, 100) for path in shown)
    more = "" if len(paths) == len(shown) else f" and {len(paths) - len(shown)} more"
    return (
        f"gates contain only what is committed: the one that failed did not have the ignored {files}{more}. "
        "If it needs them, see “What gates see” in docs/project-needs.md"
    )


def _is_named_in(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", text) is not None


async def check_end_to_end(context: GateContext) -> None:
    """Run the scenario on the branch's commit, all commands in one container, in order."""
    commit = await context.workspace.user.find_branch_commit(context.records.start.branch)
    assert commit is not None
    gates = await number_gates(context.records, context.terms.work.scenario)
    ended = await _judge(context, CheckedCommit(commit=commit, kind="e2e"), gates, None)
    verdicts = {gate.verdict for gate in ended}
    await context.records.journal.append(
        EndToEndEnded(
            status="unavailable"
            if "unavailable" in verdicts
            else "failed"
            if "fail" in verdicts
            else "passed",
            commit=commit,
            evidence=tuple(gate.evidence for gate in ended),
        )
    )


async def number_gates(
    records: RunRecords, gates: Sequence[Gate], task: str | None = None
) -> tuple[NumberedGate, ...]:
    """Give each gate a new evidence id."""
    ids = await records.journal.reserve_evidence(len(gates), task=task)
    return tuple(NumberedGate(gate, id) for gate, id in zip(gates, ids, strict=True))


async def _judge(
    context: GateContext, checked: CheckedCommit, gates: tuple[NumberedGate, ...], parent: str | None
) -> list[GateEnded]:
    """Append a fact before and after each gate, and give the facts about their ends, in order.

    With `verify.fail_fast` the gates after the first one that fails are not run.
    """
    journal, ended = context.records.journal, list[GateEnded]()
    by_evidence = {gate.evidence: gate for gate in gates}
    async with aclosing(_find_or_run(context, checked, gates)) as facts:
        async for fact in facts:
            if isinstance(fact, GateEnded):
                if parent is None:
                    fact = replace(fact, before=_find_before(context, fact.command))
                else:
                    fact = await _judge_failure(context, by_evidence[fact.evidence], fact, parent)
                stops = context.terms.settings.verify.fail_fast and fact.verdict == "fail"
                fact = replace(fact, skips_rest=stops and fact.evidence != gates[-1].evidence)
                ended.append(fact)
            await journal.append(fact, task=checked.task, attempt=checked.attempt)
            if isinstance(fact, GateEnded) and fact.skips_rest:
                break
    return ended


async def run_again_if_new(
    context: GateContext,
    checked: CheckedCommit,
    gates: tuple[NumberedGate, ...],
    ended: list[GateEnded],
    parent: str,
) -> list[GateEnded]:
    """Run gates again that fail in a new way, and give the results that count.

    The second round is in a fresh container. If a gate passes there, a third round decides, and the gate is
    flaky. A failure that is known from before the work or from the attempt before is not run again, and with
    `verify.fail_fast` none is, because the gates after it have not run.
    """
    verify = context.terms.settings.verify
    if verify.flaky == "fail" or verify.fail_fast:
        return ended
    to_run = {gate.gate: gate for gate in ended if await _fails_in_a_new_way(context, checked, gate)}
    counts = {gate.gate: gate for gate in ended}
    for round_number in (2, 3):
        if not to_run:
            break
        again = await _run_round(context, checked, gates, to_run, parent, round_number)
        counts |= {gate.gate: gate for gate in again}
        to_run = {gate.gate: to_run[gate.gate] for gate in again if gate.verdict == "pass"}
    return list(counts.values())


async def _fails_in_a_new_way(context: GateContext, checked: CheckedCommit, fact: GateEnded) -> bool:
    if fact.verdict != "fail" or fact.reused is not None:
        return False
    state = context.records.journal.state
    known = [check.evidence for check in state.find_base_checks([fact.command])]
    attempts = state.tasks[checked.task or ""].current_attempts
    known += [gate.evidence for each in attempts[:-1] for gate in each.gates if gate.command == fact.command]
    return not any([await _is_same_failure(context, evidence, fact) for evidence in known])


async def _run_round(
    context: GateContext,
    checked: CheckedCommit,
    gates: tuple[NumberedGate, ...],
    failed: Mapping[str, GateEnded],
    parent: str,
    round_number: int,
) -> list[GateEnded]:
    """Run the gates that failed once more, after those before them, and append their results."""
    journal, ended = context.records.journal, list[GateEnded]()
    image = await find_image(context, checked)
    last = max(at for at, gate in enumerate(gates) if gate.gate.name in failed)
    again = await number_gates(
        context.records, [each.gate for each in gates if each.gate.name in failed], task=checked.task
    )
    by_name = {each.gate.name: each for each in again}
    given = tuple(
        _command_gate(
            context, by_name.get(each.gate.name, each), is_preparation=each.gate.name not in by_name
        )
        for each in gates[: last + 1]
    )
    by_evidence = {each.evidence: each for each in again}
    async with aclosing(run_commands(context, checked, image, given)) as events:
        async for event in events:
            if isinstance(event, GateBegun):
                fact: GateStarted | GateEnded = _gate_started_fact(checked, by_evidence[event.gate.evidence])
            else:
                numbered = by_evidence[event.evidence.id]
                before = failed[numbered.gate.name]
                found = _gate_ended_fact(event, numbered.check, before.key)
                found = await _judge_failure(context, numbered, found, parent)
                is_flaky = round_number == 3 or found.verdict == "pass"
                fact = replace(found, round=round_number, flaky=is_flaky, first=before.given)
                ended.append(fact)
            await journal.append(fact, task=checked.task, attempt=checked.attempt)
    return ended


async def _find_or_run(
    context: GateContext, checked: CheckedCommit, gates: tuple[NumberedGate, ...]
) -> AsyncGenerator[GateStarted | GateEnded, None]:
    """Yield the facts about the gates in order; the caller appends them.

    Gates at the beginning whose results are known are not run. If others follow, their commands run
    nevertheless, to leave the same files behind, but their known results count.
    """
    tree = await history.tree_of(context.workspace.store, checked.commit)
    image = await find_image(context, checked)
    commands = tuple(gate.gate.command for gate in gates)
    keys = dict(
        zip(
            (gate.evidence for gate in gates),
            result_keys(context.terms, tree=tree, image=image, commands=commands),
            strict=True,
        )
    )
    state = context.records.journal.state
    # The user may have repaired anything before a resume, so it runs the gates of the task again.
    results = {key: result for key, result in state.results.items() if result.epoch == state.epoch}
    known = tuple(takewhile(lambda gate: keys[gate.evidence] in results, gates))
    for gate in known:
        key = keys[gate.evidence]
        found = await _copy_result(context, checked, gate, results[key], key)
        if found is not None:
            yield _gate_started_fact(checked, gate)
            yield found
        else:
            known = known[: known.index(gate)]
            break
    if len(known) == len(gates):
        return
    # What is known runs again, but only for the files that it leaves behind for the gates after it.
    given = tuple(_command_gate(context, gate, is_preparation=gate in known) for gate in gates)
    by_evidence = {gate.evidence: gate for gate in gates}
    async with aclosing(run_commands(context, checked, image, given)) as events:
        async for event in events:
            match event:
                case GateBegun(gate=begun):
                    yield _gate_started_fact(checked, by_evidence[begun.evidence])
                case GateResult(evidence=evidence):
                    yield _gate_ended_fact(event, by_evidence[evidence.id].check, keys[evidence.id])


async def find_image(context: GateContext, checked: CheckedCommit) -> str:
    """The id of the setup image that commands on this commit start from."""
    setup = await ensure_setup_image(
        context.services,
        context.records,
        context.terms,
        context.workspace,
        checked.commit,
        checked.setup_owner,
    )
    return setup.id


def _command_gate(
    context: GateContext, numbered: NumberedGate, *, is_preparation: bool = False
) -> CommandGate:
    return CommandGate(
        name=numbered.gate.name,
        command=numbered.gate.command,
        evidence=numbered.evidence,
        asks_for_report=asks_for_report(context, numbered.check),
        is_preparation=is_preparation,
    )


def asks_for_report(context: GateContext, check: Check) -> bool:
    """Whether it may matter which tests of a check fail."""
    return check.is_guard and context.terms.work.base != "green"


def _gate_started_fact(checked: CheckedCommit, numbered: NumberedGate) -> GateStarted:
    return GateStarted(
        gate=numbered.gate.name,
        command=numbered.gate.command,
        evidence=numbered.evidence,
        candidate=checked.commit,
    )


def _gate_ended_fact(result: GateResult, check: Check, key: str) -> GateEnded:
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
        source=check.source,
        key=key,
        reused=evidence.reused,
    )


async def _copy_result(
    context: GateContext, checked: CheckedCommit, numbered: NumberedGate, known: KnownResult, key: str
) -> GateEnded | None:
    """A known result as that of this gate, with evidence of its own; None if its evidence is gone."""
    folder = context.records.folder.evidence
    stored = await asyncio.to_thread(load, folder, known.evidence)
    if stored is None:
        return None
    copied = with_changes(
        stored.evidence,
        id=numbered.evidence,
        gate=numbered.gate.name,
        candidate=checked.commit,
        reused=known.evidence,
    )
    await asyncio.to_thread(store, folder, copied, stored.output)
    return _gate_ended_fact(GateResult(evidence=copied, output=stored.output), numbered.check, key)


async def _judge_failure(
    context: GateContext, numbered: NumberedGate, fact: GateEnded, parent: str
) -> GateEnded:
    """The fact with what the guard said when the task began, and with `pass` if the failure is excused.

    A guard that finds no tests, where there were none before, breaks nothing.
    """
    rule = context.terms.work.base
    if fact.verdict != "fail" or not numbered.check.is_guard or fact.exit_code is None:
        return fact
    if rule == "green" and not finds_no_tests(fact.command, fact.exit_code):
        return fact
    known = context.records.journal.state.find_result(parent, fact.command)
    known = known or await _check_parent(context, numbered, parent)
    before = judge_before_the_work(fact.command, known.exit_code, is_guard=True)
    is_same = await _is_same_failure(context, known.evidence, fact)
    is_excused = is_same and (rule == "no_worse" or before == "absent")
    verdict = "pass" if is_excused else fact.verdict
    return replace(fact, before=before, fails_as_before=is_same, verdict=verdict)


def _find_before(context: GateContext, command: str) -> Before | None:
    """How a command of the scenario ended on the run's base; None if it did not run there."""
    found = context.records.journal.state.find_base_checks((command,))
    return found[0].before if found else None


async def _is_same_failure(context: GateContext, known: str, fact: GateEnded) -> bool:
    """Whether the gate fails as it did with the evidence of this id."""
    folder = context.records.folder.evidence
    failures = []
    for id in (known, fact.evidence):
        stored = await asyncio.to_thread(load, folder, id)
        if stored is None or not stored.evidence.exit_code:
            return False
        failures.append(Failure(stored.evidence.exit_code, stored.output, stored.evidence.failed_tests))
    return fails_as_before(fact.command, *failures)


async def _check_parent(context: GateContext, numbered: NumberedGate, parent: str) -> KnownResult:
    """Run a guard on the commit on which the task began; the user's own edits can have led to that commit."""
    builds = context.terms.work.builds
    gates = await number_gates(context.records, (*builds, numbered.gate))
    checked = CheckedCommit(commit=parent, is_candidate=False)
    image = await find_image(context, checked)
    tree = await history.tree_of(context.workspace.store, parent)
    commands = tuple(gate.gate.command for gate in gates)
    key = result_keys(context.terms, tree=tree, image=image, commands=commands)[-1]
    given = tuple(_command_gate(context, gate, is_preparation=gate is not gates[-1]) for gate in gates)
    async with aclosing(run_commands(context, checked, image, given)) as events:
        async for event in events:
            if isinstance(event, GateResult):
                fact = base_checked(event, gates[-1].gate, key, commit=parent)
                await context.records.journal.append(fact)
    found = context.records.journal.state.find_result(parent, numbered.gate.command)
    assert found is not None
    return found


def base_checked(result: GateResult, gate: Gate, key: str, *, commit: str | None = None) -> BaseChecked:
    """The fact about a command before the work. Raises CodingAgentError if it could not be run."""
    evidence, check = result.evidence, gate.check
    if evidence.exit_code is None:
        command = gate.command.strip().splitlines()[0]
        raise CodingAgentError(f"`{command}` could not be run before the work: {evidence.detail}")
    before = judge_before_the_work(evidence.command, evidence.exit_code, is_guard=check.is_guard)
    is_red_guard = check.is_guard and before == "red"
    detail = f"\n[{evidence.detail}]" if evidence.detail else ""
    return BaseChecked(
        gate=gate.name,
        command=evidence.command,
        before=before,
        exit_code=evidence.exit_code,
        evidence=evidence.id,
        seconds=evidence.seconds,
        source=check.source,
        is_guard=check.is_guard,
        commit=commit,
        key=key,
        tail=tail(result.output) + detail if is_red_guard else "",
        missing=find_missing(evidence.command, evidence.exit_code, result.output) if is_red_guard else None,
    )


async def run_commands(
    context: GateContext, checked: CheckedCommit, image: str, gates: tuple[CommandGate, ...]
) -> AsyncGenerator[GateBegun | GateResult, None]:
    """Run commands on a commit, all in one fresh container, and give their results as they come."""
    records, terms = context.records, context.terms
    number = int(gates[0].evidence.removeprefix("e"))
    name = gate_name(records.run, checked.task, checked.attempt or 0, number)
    async with (
        files_for_container(records, context.workspace, checked.commit, name) as files,
        heartbeat(context.services, records, task=checked.task, attempt=checked.attempt) as beat,
    ):
        request = GateRequest(
            spec=terms.specs.gate(
                kind=checked.kind,
                name=name,
                task=checked.task,
                attempt=checked.attempt,
                image=image,
                git=files.git,
            ),
            archive=files.archive,
            candidate=checked.commit,
            image=image,
            gates=gates,
            timeout=terms.settings.verify.timeout,
            evidence=records.folder.evidence,
            on_output=beat.note_output,
            pytest_options=terms.specs.variables.get(ADDOPTS, ""),
        )
        async with aclosing(run_gates(context.services.engine, context.services.clock, request)) as events:
            async for event in events:
                match event:
                    case GateBegun(gate=gate):
                        beat.begin(gate.name)
                    case GateResult():
                        beat.end()
                    case ContainerLost():
                        where = "the container" if event.gate is None else f"{event.gate}: its container"
                        text = f"{where} was removed or stopped by another process; "
                        notice = Notice(text=f"{text}the commands run once more in a new one")
                        await records.journal.append(notice, task=checked.task, attempt=checked.attempt)
                        continue
                yield event
