"""Prompts for coding agents. The texts are files in `prompt_texts/`; this module fills them in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

from orchestrator.plan.model import Plan, Task
from orchestrator.run.facts import BaseChecked, GateEnded
from orchestrator.run.state import AttemptState, QuestionState
from orchestrator.text import one_line

SHOWN_PATHS = 10
TEXTS = ("task", "again", "outcome_in_stream", "outcome_by_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptParts:
    """All parts of a prompt."""

    plan: Plan
    task: Task
    handoff_path: str
    handoff: str
    """The hand-off document on the branch; empty if there is none."""
    base: tuple[BaseChecked, ...]
    previous: AttemptState | None
    set_aside: str
    """The diff of the last attempt's changes, if they are not in the folder any more; else empty."""
    uncommitted: tuple[str, ...]
    """Paths of the folder that no commit of the run contains, as the last candidate found them."""
    questions: tuple[QuestionState, ...]
    guidance: str | None
    session_resumed: bool
    """Whether the agent continues the session of its last attempt."""
    outcome_in_stream: bool
    unproved: str | None = None
    """Why the last attempt was not accepted, although its commands passed."""


def prompt(parts: PromptParts, texts: Mapping[str, str]) -> str:
    """The prompt of an attempt. `texts` holds the file of each name in TEXTS."""
    name = "again" if parts.session_resumed else "task"
    reporting = texts["outcome_in_stream" if parts.outcome_in_stream else "outcome_by_file"]
    return Template(texts[name]).substitute(
        plan_path=parts.plan.path,
        plan_title=parts.plan.title,
        goal=parts.plan.goal.strip() or "(none given)",
        task_id=parts.task.id,
        section=parts.task.section.strip(),
        handoff_path=parts.handoff_path,
        base_notes=_base_notes(parts.base),
        handoff=_chapter("What earlier tasks left for you", parts.handoff),
        guidance=_chapter("Guidance from the user who started the run", parts.guidance or ""),
        answers=_answers(parts.questions),
        evidence=_evidence(parts.task, parts.previous, parts.unproved)
        + _changes_set_aside(parts.set_aside)
        + _list_uncommitted(parts.uncommitted),
        reporting=reporting.strip(),
    )


def _chapter(title: str, text: str) -> str:
    return f"\n# {title}\n\n{text.strip()}\n" if text.strip() else ""


def _base_notes(base: tuple[BaseChecked, ...]) -> str:
    words = {
        "red": "fails now",
        "already_green": "passes already",
        "absent": "cannot run yet: a program or file it needs does not exist",
    }
    lines = [f"{words[check.before]}:\n{_fence(check.command)}" for check in base]
    return _chapter("How the task is checked, and the results before your work", "\n".join(lines))


def _answers(questions: tuple[QuestionState, ...]) -> str:
    return "".join(
        _chapter(
            "A question and its answer", f"Question: {question.asked.text}\n\nAnswer: {question.answer.text}"
        )
        for question in questions
        if question.answer is not None
    )


def _evidence(task: Task, previous: AttemptState | None, unproved: str | None) -> str:
    if previous is None or previous.end is None:
        return ""
    reason = previous.end.reason if previous.end.status != "completed" else None
    notes = [f"It ended as {previous.end.status}: {reason}"] if reason else []
    if previous.refused is not None:
        notes.append(previous.refused)
    if (
        previous.candidate is not None
        and not previous.candidate.changed
        and previous.end.status == "completed"
    ):
        notes.append(_explain_no_change(task))
    notes += [_describe_failed_gate(gate) for gate in previous.failed_gates]
    if unproved is not None:
        notes.append(f"Its commands passed, but {unproved}.")
    if previous.failed_gates:
        notes.append("These commands ran on the committed files only, without ignored files of your folder.")
    return _chapter("How your last attempt ended", "\n\n".join(notes))


def _changes_set_aside(diff: str) -> str:
    if not diff:
        return ""
    return _chapter(
        "Your last attempt's changes are not in the folder",
        "They were set aside for another task, and since then files of them were changed on the branch. Work "
        "from the folder as it is now. Make these changes again where they still make sense:\n"
        f"{_fence(diff)}",
    )


def _list_uncommitted(paths: tuple[str, ...]) -> str:
    if not paths:
        return ""
    shown = [f"- {one_line(path, 200)}" for path in paths[:SHOWN_PATHS]]
    if len(paths) > SHOWN_PATHS:
        shown.append(f"- and {len(paths) - SHOWN_PATHS} more")
    return _chapter(
        "Files in the folder that are not committed",
        "They are scratch of tools, or too large. They stay in the folder, no commit contains them, and the "
        "commands that check the work do not have them:\n\n" + "\n".join(shown),
    )


def _explain_no_change(task: Task) -> str:
    if task.type is not None:
        return "Nothing in the folder was changed."
    return (
        "Nothing in the folder was changed, and your outcome did not say why. "
        "If nothing has to be changed, say so in `no_change`."
    )


def _describe_failed_gate(gate: GateEnded) -> str:
    return (
        f"This command failed with exit code {gate.exit_code}:\n{_fence(gate.command)}"
        f"\nThe end of its output:\n{_fence(gate.tail)}"
    )


def _fence(text: str) -> str:
    """The text in a code fence that is longer than any run of backticks in it, so that it cannot end the
    fence."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text.rstrip()}\n{fence}\n"
