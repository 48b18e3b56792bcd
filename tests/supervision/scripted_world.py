"""A world that carries out decisions by dice: agents, gates, branches, kills and a person with an editor.

It keeps what is true apart from what the journal says, so that a test can compare the two.
"""

from collections import Counter
from collections.abc import Callable
from typing import get_args

from run_histories import (
    BASE_CHECKED,
    ON_BRANCH,
    RUN,
    Entry,
    answered,
    asked,
    attempt,
    begun,
    candidate,
    ended,
    finished,
    gate,
    gate_started,
    landing,
    landing_refused,
    looked,
    numbered,
    refused,
    resumed,
    saved,
    scenario,
    task_started,
)

from orchestrator.run.endings import run_ended
from orchestrator.run.facts import AttemptStatus, Fact, Verdict
from orchestrator.run.state import AttemptState, RunState, advance, begin, fold
from orchestrator.supervision.decide import (
    CHARGED,
    MAX_INTERRUPTIONS,
    Action,
    AskPerson,
    CheckBase,
    CheckEndToEnd,
    EndRun,
    FailTask,
    Land,
    LookAtTree,
    MakeBranch,
    MakeCandidate,
    RecoverAttempt,
    RunGates,
    StartAttempt,
    StartTask,
    Work,
    decide,
)

Draw = Callable[[str, int], int]
"""A name for the shrunk example, and how many sides the die has."""

ENDS: tuple[AttemptStatus, ...] = get_args(AttemptStatus)


class Killed(Exception):
    """kill -9: nothing after it happens."""


class World:
    def __init__(self, work: Work, draw: Draw, *, lives: int) -> None:
        self.work = work
        self._draw = draw
        self._lives = lives
        """How often the run may still be killed."""
        self.facts: list[Fact] = numbered([begun(*(item.id for item in work.items))])
        self.state: RunState = begin(self.facts[0])
        self.branch: list[str] = []
        """What really landed, in order: the world's truth."""
        self.passed: dict[str, set[str]] = {}
        """Evidence that really passed, by candidate."""
        self.evidence_of: dict[str, tuple[str, ...]] = {}
        self.started: Counter[tuple[str, int]] = Counter()
        """Attempts by task and epoch."""
        self._commits = 0

    def live(self) -> EndRun:
        """Until the run says it is over, through every kill."""
        while True:
            try:
                return self._until_its_end()
            except Killed:
                # What is read back is what had been appended, and a new owner goes on.
                self.state = fold(self.facts)
                self.append(resumed(), killable=False)

    def resume(self) -> None:
        self.append(resumed(), killable=False)
        for question in self.state.open_questions:
            if self._draw("answered", 2):
                self.append(answered(question.asked.question), killable=False)

    def _until_its_end(self) -> EndRun:
        for _ in range(40 * len(self.work.items) + 40):
            action = decide(self.state, self.work)
            if isinstance(action, EndRun):
                self.append(
                    Entry(run_ended(action.status, action.reason)),
                    killable=False,
                )
                return action
            self._carry_out(action)
        raise AssertionError("the run does not come to an end")

    def append(self, entry: Entry, *, killable: bool = True) -> None:
        (fact,) = numbered([entry], first=len(self.facts) + 1)
        assert fact.run == RUN
        self.state = advance(self.state, fact)
        self.facts.append(fact)
        if killable:
            self._maybe_killed()

    def _maybe_killed(self) -> None:
        if self._lives and self._draw("killed", 12) == 11:
            self._lives -= 1
            raise Killed

    def _carry_out(self, action: Action) -> None:
        match action:
            case CheckBase():
                self.append(BASE_CHECKED)
            case MakeBranch():
                self.append(ON_BRANCH)
            case StartTask(task=task):
                self.append(task_started(task))
            case StartAttempt():
                self._attempt(action)
            case RecoverAttempt(task=task, attempt=last):
                self.append(saved(last.number, task))
                self.append(ended("interrupted", last.number, task))
            case LookAtTree(task=task, attempt=last):
                edited = ("a.py",) if self._draw("edited", 3) == 2 else ()
                self.append(looked(last.number, task, edited=edited))
            case MakeCandidate():
                self._make_candidate(action)
            case RunGates(task=task, attempt=last):
                self._run_gates(task, last)
            case Land(task=task, attempt=last):
                self._land(task, last)
            case FailTask(task=task):
                self.append(finished("failed", None, task))
            case AskPerson(task=task, attempt=last):
                self.append(asked(last.number, task, question=f"q{len(self.state.questions) + 1}"))
            case CheckEndToEnd():
                self.append(scenario(("passed", "failed", "unavailable")[self._draw("scenario", 3)]))
            case EndRun():
                raise AssertionError("handled before")

    def _attempt(self, action: StartAttempt) -> None:
        self.started[action.task, self.state.epoch] += 1
        self.append(attempt(action.number, action.task))
        # Completed is as likely as all else together: runs get somewhere.
        face = self._draw("ends", 2 * len(ENDS))
        status: AttemptStatus = ENDS[face] if face < len(ENDS) else "completed"
        self.append(ended(status, action.number, action.task))

    def _make_candidate(self, action: MakeCandidate) -> None:
        item = next(each for each in self.work.items if each.id == action.task)
        if self._draw("refused", 10) == 9:
            self.append(refused(action.attempt.number, action.task))
            return
        self._commits += 1
        commit = f"{action.task}@{self._commits}"
        given = self.state.evidence_given
        evidence = tuple(f"e{given + number}" for number in range(1, len(item.commands) + 1))
        self.evidence_of[commit] = evidence
        self.append(
            candidate(
                action.attempt.number,
                action.task,
                evidence=evidence,
                changed=self._draw("changed", 6) > 0,
                by_hand=action.by_hand,
                commit=commit,
            )
        )

    def _run_gates(self, task: str, last: AttemptState) -> None:
        assert last.candidate is not None
        heard = {each.evidence for each in last.gates if each.verdict != "unavailable"}
        for evidence in last.candidate.evidence:
            if evidence in heard:
                continue
            self.append(gate_started(evidence, last.number, task))
            verdict: Verdict = ("pass", "pass", "pass", "fail", "unavailable")[self._draw("verdict", 5)]  # type: ignore[assignment]
            if verdict == "pass":
                self.passed.setdefault(last.candidate.commit, set()).add(evidence)
            self.append(gate(verdict, last.number, task, evidence=evidence))

    def _land(self, task: str, last: AttemptState) -> None:
        assert last.candidate is not None
        commit = last.candidate.commit
        if self.state.tasks[task].landing is None:
            self.append(landing(last.number, task))
        if commit not in self.branch:
            if self._draw("landing refused", 8) == 7:
                self.append(landing_refused(last.number, task))
                return
            self.branch.append(commit)
            self._maybe_killed()
        self.append(finished("completed", last.number, task))


def check_promises(world: World) -> None:
    """What holds in every world, at every end."""
    tasks = [commit.partition("@")[0] for commit in world.branch]
    assert len(tasks) == len(set(tasks)), f"a task landed twice: {world.branch}"
    for commit in world.branch:
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
