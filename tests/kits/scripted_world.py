"""A world that carries out decisions by dice: agents, gates, branches, kills and a user with an editor.

The real runner drives it. Every action and every append takes a while, so that with several workers the dice
decide what happens first. Each action has dice of its own: what it throws does not depend on what others have
thrown before it, so that a seed always gives the same world. The world keeps what is true apart from what the
journal says, so that a test can compare the two.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import get_args

from msgspec.structs import replace
from run_histories import (
    BASE_CHECKED,
    ON_BRANCH,
    RUN,
    Entry,
    accepted,
    answered,
    asked,
    attempt,
    begun,
    candidate,
    compared,
    ended,
    finished,
    gate,
    gate_started,
    landing,
    landing_refused,
    numbered,
    refused,
    resumed,
    saved,
    scenario,
    task_started,
)

from orchestrator.engine.milestone_runner import MilestoneRunner
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.facts import (
    AttemptStatus,
    Body,
    Fact,
    LayBackStarted,
    NamesReserved,
    RunEnded,
    SetAsideStarted,
    TreeLaidBack,
    TreeSetAside,
    Verdict,
)
from orchestrator.run.state import AttemptState, RunState, advance, begin, fold
from orchestrator.supervision.decide import (
    BRANCH,
    CHARGED,
    MAX_IDLE_ATTEMPTS,
    MAX_INTERRUPTIONS,
    Action,
    AskUser,
    CheckBase,
    CheckEndToEnd,
    CompareFolder,
    FailTask,
    Land,
    Lane,
    LayBack,
    MakeBranch,
    MakeCandidate,
    RecoverAttempt,
    RunGates,
    SetAside,
    StartAttempt,
    StartTask,
    Work,
    WorkItem,
    is_idle,
    lanes_of,
    reason_not_to_accept,
)

Draw = Callable[[str, str, int], int]
"""Who throws the die, its name, and how many sides it has."""
_THROWER = ContextVar("thrower", default="the runner")
"""The action that the current asyncio task carries out."""

ENDS: tuple[AttemptStatus, ...] = get_args(AttemptStatus)


class Dice:
    """Each face follows from the seed, the thrower, the die's name, and how often this one was thrown."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._thrown: Counter[tuple[str, str]] = Counter()

    def __call__(self, thrower: str, name: str, sides: int) -> int:
        self._thrown[thrower, name] += 1
        return random.Random(f"{self._seed} {thrower} {name} {self._thrown[thrower, name]}").randrange(sides)


class Killed(BaseException):
    """kill -9: nothing after it happens."""


class ScriptedJournal(RunJournal):
    """A run's journal for one life of its owner, kept by the world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._is_dead = False

    @property
    def state(self) -> RunState:  # type: ignore[override]
        return self._world.state

    async def append(
        self,
        body: Body | Callable[[RunState, int], Body],
        *,
        task: str | None = None,
        attempt: int | None = None,
    ) -> Fact:
        await self._world.while_others_work()
        if self._is_dead:
            raise Killed
        made = body(self.state, self.state.last_n + 1) if callable(body) else body
        fact = self._world.store(Entry(made, task, attempt))
        if not isinstance(made, RunEnded) and self._world.is_killed():
            self._is_dead = True
            raise Killed
        return fact

    async def refresh(self) -> None:
        await self._world.while_others_work()

    async def wait_for_change(self) -> None:
        await asyncio.Event().wait()


class World:
    def __init__(self, work: Work, draw: Draw, *, lives: int) -> None:
        self.work = work
        self._draw = draw
        self._lives = lives
        """How often the run may still be killed."""
        self.facts: list[Fact] = numbered([begun(*(item.id for item in work.items))])
        self.state: RunState = begin(self.facts[0])
        self.branch: list[str] = []
        """The commits that really landed, in order: the world's truth."""
        self.passed: dict[str, set[str]] = {}
        """Evidence that really passed, by candidate."""
        self.evidence_of: dict[str, tuple[str, ...]] = {}
        self.unchanged: dict[str, str] = {}
        """Candidates without changes, and why such a one may land: `explained`, `accepted`, or nothing."""
        self.actions: list[Action] = []
        """Everything that was begun."""
        self.in_folder: str | None = None
        """The task of which the folder has files that did not land."""
        self.most_at_once = 0
        """How many tasks were worked on at the same time."""
        self._busy: frozenset[Lane] = frozenset()
        self._commits = 0
        self._journal = ScriptedJournal(self)

    def draw(self, name: str, sides: int) -> int:
        return self._draw(_THROWER.get(), name, sides)

    def live(self) -> RunEnded:
        """Until the run says that it has ended, through every kill."""
        while True:
            self._busy = frozenset()
            self._journal = ScriptedJournal(self)
            try:
                state = asyncio.run(MilestoneRunner(self._journal, self.work, self).carry_out())
                assert state.end is not None
                return state.end
            except BaseExceptionGroup as group:
                if group.split(Killed)[1] is not None:
                    raise
                # What is read back is what had been appended, and a new owner resumes the run.
                self.state = fold(self.facts)
                self.store(resumed())

    def resume(self) -> None:
        self.store(resumed())
        for question in self.state.open_questions:
            if self.draw("answered", 2):
                self.store(answered(question.asked.question))
        last = {id: task.last for id, task in self.state.tasks.items() if not task.is_done}
        for id, ended_last in last.items():
            can_be_accepted = ended_last is not None and reason_not_to_accept(ended_last) is None
            if can_be_accepted and self.draw(f"accepted {id}", 2):
                self.store(accepted(id))

    def store(self, entry: Entry) -> Fact:
        (fact,) = numbered([entry], first=len(self.facts) + 1)
        assert fact.run == RUN
        self.state = advance(self.state, fact)
        self.facts.append(fact)
        return fact

    def is_killed(self) -> bool:
        if self._lives and self.draw("killed", 12) == 11:
            self._lives -= 1
            return True
        return False

    async def while_others_work(self) -> None:
        """With one worker nothing else works, so that no dice are spent on it."""
        if self.work.workers > 1:
            for _ in range(self.draw("turns", 3)):
                await asyncio.sleep(0)

    async def append(self, entry: Entry) -> None:
        await self._journal.append(entry.body, task=entry.task, attempt=entry.attempt)

    async def remove_leftovers(self, state: RunState) -> None:
        assert not self._busy

    def park_attempts(self) -> None:
        raise AssertionError("no time ends here")

    def stop_waiting(self) -> None:
        raise AssertionError("no signal is sent here")

    async def forget_run(self) -> None:
        raise AssertionError("setup never fails here")

    async def carry_out(self, action: Action, state: RunState) -> None:
        self.actions.append(action)
        assert len(self.actions) < 400 * len(self.work.items) + 400, "the run does not end"
        _THROWER.set(_name(action))
        with self._in_its_lanes(action):
            await self._do(action)

    @contextmanager
    def _in_its_lanes(self, action: Action) -> Iterator[None]:
        lanes = lanes_of(action)
        assert self._busy.isdisjoint(lanes), f"{action} while {set(self._busy)} are busy"
        self._busy |= lanes
        self.most_at_once = max(self.most_at_once, len(self._busy - {BRANCH}))
        try:
            yield
        finally:
            self._busy -= lanes

    async def _do(self, action: Action) -> None:
        match action:
            case CheckBase():
                await self.append(BASE_CHECKED)
            case MakeBranch():
                await self.append(ON_BRANCH)
            case StartTask(task=task):
                self._check_dependencies(task)
                await self.append(task_started(task))
            case StartAttempt():
                await self._attempt(action)
            case RecoverAttempt(task=task, attempt=last):
                await self.append(saved(last.number, task))
                await self.append(ended("interrupted", last.number, task))
            case CompareFolder(task=task, attempt=last):
                edited = ("a.py",) if self.draw("edited", 3) == 2 else ()
                if edited:
                    await self._journal.reserve_ref("edits", task=task)
                await self.append(compared(last.number, task, edited=edited))
            case MakeCandidate():
                await self._make_candidate(action)
            case RunGates(task=task, attempt=last):
                await self._run_gates(task, last)
            case Land(task=task, attempt=last):
                await self._land(task, last)
            case FailTask(task=task):
                await self.append(finished("failed", None, task))
            case AskUser(task=task, attempt=last):
                await self._journal.append(
                    lambda state, n: asked(question=f"q{len(state.questions) + 1}").body,
                    task=task,
                    attempt=last.number,
                )
            case SetAside(task=task, attempt=last):
                await self._set_aside(task, last)
            case LayBack(task=task, attempt=last):
                await self._lay_back(task, last)
            case CheckEndToEnd():
                await self.append(scenario(("passed", "failed", "unavailable")[self.draw("scenario", 3)]))

    async def _set_aside(self, task: str, last: AttemptState) -> None:
        assert self.work.workers == 1 and self.in_folder in (None, task)
        if not last.is_partly_set_aside:
            ref = await self._journal.reserve_ref("aside", task=task)
            started = SetAsideStarted(commit=f"aside of {task}", parent="base0", ref=ref)
            await self.append(Entry(started, task, last.number))
        self.in_folder = None
        await self.append(Entry(TreeSetAside(), task, last.number))

    async def _lay_back(self, task: str, last: AttemptState) -> None:
        assert self.in_folder in (None, task), f"{self.in_folder} is in the folder"
        self.in_folder = None
        commit = f"back of {task}" if self.draw("clashes", 3) else None
        if commit is not None:
            await self.append(Entry(LayBackStarted(commit=commit, parent="base0"), task, last.number))
            self.in_folder = task
        await self.append(Entry(TreeLaidBack(commit=commit, parent="base0"), task, last.number))

    def _check_folder(self, task: str) -> None:
        """Nothing of another task is in the folder when an agent begins or a candidate is made."""
        assert self.work.workers > 1 or self.in_folder in (None, task), f"{self.in_folder} is in the folder"
        self.in_folder = task

    def _check_dependencies(self, task: str) -> None:
        landed = {commit.partition("@")[0] for commit in self.branch}
        waits = dependencies(self.work, self._item(task))
        if self._item(task).names_no_dependencies and self.work.failed_tasks > 1:
            waits = {each for each in waits if not self.state.tasks[each].has_failed}
        assert landed.issuperset(waits), f"{task} was started too early"

    def _item(self, task: str) -> WorkItem:
        return next(item for item in self.work.items if item.id == task)

    async def _attempt(self, action: StartAttempt) -> None:
        self._check_folder(action.task)
        await self.append(attempt(action.number, action.task))
        # Completed is as likely as everything else together: runs get somewhere.
        face = self.draw("ends", 2 * len(ENDS))
        status: AttemptStatus = ENDS[face] if face < len(ENDS) else "completed"
        no_change = "It was done." if self.draw("explained", 2) else None
        await self.append(ended(status, action.number, action.task, no_change=no_change))

    async def _make_candidate(self, action: MakeCandidate) -> None:
        self._check_folder(action.task)
        if self.draw("refused", 10) == 9:
            await self.append(refused(action.attempt.number, action.task))
            return
        self._commits += 1
        commit = f"{action.task}@{self._commits}"
        changed = self.draw("changed", 6) > 0
        if not changed:
            task, claim = self.state.tasks[action.task], action.attempt.claim
            is_explained = claim is not None and claim.no_change is not None and not action.by_hand
            self.unchanged[commit] = (
                "accepted" if task.accepted is not None else "explained" if is_explained else ""
            )
        given = self._item(action.task).checks
        evidence = await self._journal.reserve_evidence(len(given), task=action.task)
        self.evidence_of[commit] = evidence
        await self.append(
            candidate(
                action.attempt.number,
                action.task,
                evidence=evidence,
                changed=changed,
                by_hand=action.by_hand,
                commit=commit,
            )
        )

    async def _run_gates(self, task: str, last: AttemptState) -> None:
        assert last.candidate is not None
        for evidence in last.owed_evidence:
            await self.append(gate_started(evidence, last.number, task))
            verdict: Verdict = ("pass", "pass", "pass", "fail", "unavailable")[self.draw("verdict", 5)]
            if verdict == "pass":
                self.passed.setdefault(last.candidate.commit, set()).add(evidence)
            await self.append(gate(verdict, last.number, task, evidence=evidence))

    async def _land(self, task: str, last: AttemptState) -> None:
        assert last.candidate is not None
        commit = last.candidate.commit
        if self.state.tasks[task].landing is None:
            await self.append(landing(last.number, task))
        if commit not in self.branch:
            if self.draw("landing refused", 8) == 7:
                await self.append(landing_refused(last.number, task))
                return
            self.branch.append(commit)
            self.in_folder = None
            await self.while_others_work()
            if self.is_killed():
                raise Killed
        await self.append(finished("completed", last.number, task))


def _name(action: Action) -> str:
    attempt = getattr(action, "attempt", None)
    number = getattr(action, "number", None) if attempt is None else attempt.number
    return f"{type(action).__name__} {getattr(action, 'task', None)} {number}"


def dependencies(work: Work, item: WorkItem) -> set[str]:
    """Ids of the tasks that are done before this one."""
    before = [each.id for each in work.items[: work.items.index(item)]]
    return set(item.depends_on).intersection(before)


def put_in_order(items: tuple[WorkItem, ...]) -> tuple[WorkItem, ...]:
    """The tasks as if the plan said nothing about dependencies."""
    before: list[tuple[str, ...]] = [(), *((item.id,) for item in items)]
    pairs = zip(items, before, strict=False)
    return tuple(replace(item, depends_on=waits, names_no_dependencies=True) for item, waits in pairs)


def check_promises(world: World) -> None:
    """Check the promises that hold in every world, at every end."""
    tasks = [commit.partition("@")[0] for commit in world.branch]
    assert len(tasks) == len(set(tasks)), f"a task landed twice: {world.branch}"
    assert world.most_at_once <= world.work.workers
    reserved = [fact.body for fact in world.facts if isinstance(fact.body, NamesReserved)]
    names = [name for body in reserved for name in (body.ref, *body.evidence) if name is not None]
    assert len(names) == len(set(names)), "a name was given out twice"
    questions = [question.asked.question for question in world.state.questions]
    assert len(questions) == len(set(questions)), "two questions have the same id"
    allowed = {"required": ("accepted",), "required_or_explained": ("accepted", "explained")}
    rules = {item.id: item.change for item in world.work.items}
    for commit in world.branch:
        rule = rules[commit.partition("@")[0]]
        if commit in world.unchanged and rule != "optional":
            assert world.unchanged[commit] in allowed[rule], f"{commit} changed nothing"
        assert set(world.evidence_of[commit]) <= world.passed.get(commit, set()), f"{commit} had not passed"
    for task_id, task in world.state.tasks.items():
        landed = [commit for commit in world.branch if commit.startswith(f"{task_id}@")]
        assert (task.finished is not None and task.finished.status == "completed") == bool(landed)
        assert [each.number for each in task.attempts] == list(range(1, len(task.attempts) + 1))
        for epoch in range(world.state.epoch + 1):
            ends = [each.end.status for each in task.attempts if each.end and each.epoch == epoch]
            charged = sum(status in CHARGED for status in ends)
            assert charged <= world.work.attempts, f"{charged} charged attempts of {task_id}"
            assert ends.count("interrupted") <= MAX_INTERRUPTIONS
            idle = sum(
                is_idle(each) and bool(each.gates) for each in task.current_attempts if each.epoch == epoch
            )
            assert idle <= MAX_IDLE_ATTEMPTS or rules[task_id] == "optional"
