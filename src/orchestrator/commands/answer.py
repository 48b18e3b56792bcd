"""`answer`: store the user's answer to a question of an agent; nothing is carried out here.

The answer is one fact, appended by a process that does not own the run. A living owner reads it before its
next decision; without an owner the next `resume` does.
"""

from dataclasses import dataclass

from orchestrator.errors import UsageError
from orchestrator.project.host import Host
from orchestrator.project.records import open_records
from orchestrator.project.run_journal import RunJournal, RunTransaction
from orchestrator.run.facts import QuestionAnswered
from orchestrator.run.phase import has_ended_for_good
from orchestrator.run.state import QuestionState, RunState
from orchestrator.text import one_line

BY = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    number: int
    """One-based, in the order in which the question lists its options."""


@dataclass(frozen=True, slots=True)
class Recommended:
    """The agent's own recommendation."""


Choice = str | Option | Recommended


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRequest:
    run: str
    """Id, unambiguous prefix or plan."""
    choice: Choice
    """The text of the answer, or which of the question's own to take."""
    question: str | None = None
    """The question's id; needed only when several are open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    run: str
    answer: QuestionAnswered
    has_owner: bool
    """Whether a process carries the run out, which then continues by itself."""


async def answer(host: Host, request: AnswerRequest) -> Answered:
    """Raises UsageError when the question does not exist, or has been answered before."""
    with open_records(host) as records:
        state = records.catalog.find(request.run)

        # Inside the transaction: of two answers that are given at the same time, the second one is refused.
        def write(run: RunTransaction) -> None:
            asked = choose_question(run.state, request.question)
            text = word_answer(asked, request.choice)
            body = QuestionAnswered(question=asked.asked.question, by=BY, text=text)
            run.append(body, task=asked.task, attempt=asked.attempt)

        (fact,) = (await RunJournal(records.journal, state).transact(write)).own
        assert isinstance(fact.body, QuestionAnswered)
        has_owner = records.catalog.owner(state.run) is not None
        return Answered(run=state.run, answer=fact.body, has_owner=has_owner)


def choose_question(state: RunState, wanted: str | None) -> QuestionState:
    """The question to answer. Raises UsageError when there is none, when it is answered, or when several are
    open and none is named."""
    if has_ended_for_good(state):
        assert state.end is not None
        raise UsageError(
            f"run {state.run} is {state.end.status}; nothing waits for an answer",
            hint=f"To see its questions and answers: orchestrator report {state.run}",
        )
    if wanted is not None:
        named = next((each for each in state.questions if each.asked.question == wanted), None)
        if named is None:
            ids = ", ".join(each.asked.question for each in state.questions) or "none"
            raise UsageError(f"run {state.run} has no question {wanted}", hint=f"Its questions: {ids}")
        if named.answer is not None:
            raise _second_answer_error(named)
        return named
    questions = state.open_questions
    if not questions:
        if state.questions:
            raise _second_answer_error(state.questions[-1])
        raise UsageError(
            f"run {state.run} has no question", hint=f"To see its state: orchestrator status {state.run}"
        )
    if len(questions) > 1:
        listed = "".join(
            f"\n  {each.asked.question}  task {each.task}: {one_line(each.asked.text, 100)}"
            for each in questions
        )
        raise UsageError(
            f"run {state.run} has {len(questions)} open questions:{listed}",
            hint="Choose one with --question ID.",
        )
    return questions[0]


def word_answer(question: QuestionState, choice: Choice) -> str:
    """The text of the answer. Raises UsageError when the question does not offer the choice."""
    asked = question.asked
    match choice:
        case Option(number=number):
            if not 1 <= number <= len(asked.options):
                offered = "".join(f"\n  {n}  {one_line(text)}" for n, text in enumerate(asked.options, 1))
                raise UsageError(
                    f"question {asked.question} has no option {number}",
                    hint=f"Its options:{offered}" if offered else "It has no options: answer with a text.",
                )
            return asked.options[number - 1]
        case Recommended():
            if not asked.recommendation:
                raise UsageError(
                    f"question {asked.question} has no recommendation",
                    hint="Answer with a text or with --option N.",
                )
            return asked.recommendation
        case str() as text:
            if not text.strip():
                raise UsageError("the answer is empty", hint="Give a text, --option N or --recommended.")
            return text.strip()


def _second_answer_error(question: QuestionState) -> UsageError:
    assert question.answer is not None
    return UsageError(
        f"question {question.asked.question} was answered at {question.answered_at} "
        f"(by {one_line(question.answer.by)}): {one_line(question.answer.text, 200)}",
        hint="An answer cannot be changed. To give further instructions: orchestrator resume RUN -g TEXT",
    )
