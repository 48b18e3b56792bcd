"""Whether two tasks have failed in the same way: then the cause is probably not in the tasks.

A broken image, a full quota of a service or a wrong environment fails every task alike. Carrying out the rest
of the plan would cost money and show nothing new.
"""

import re

from orchestrator.run.state import AttemptState, RunState, TaskState
from orchestrator.text import plain

_VOLATILE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"), "TIME"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"), "TIME"),
    (re.compile(r"\b\d+(?:\.\d+)? ?(?:ns|µs|us|ms|s|sec|secs|seconds?|m|min|minutes?)\b"), "DURATION"),
    (re.compile(r"0x[0-9a-fA-F]+"), "ADDRESS"),
    (re.compile(r"/tmp/[\w./-]+"), "TEMPORARY"),  # noqa: S108 - a pattern
    (re.compile(r"\b(?:pid|PID|process)[ =:]+\d+"), "PROCESS"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{7,64}\b"), "HASH"),
    (re.compile(r"(?i)\b(seed)[ =:]+\d+"), r"\1"),
    (re.compile(r"[ \t]+"), " "),
)

Signature = tuple[object, ...]


def normalise(output: str) -> tuple[str, ...]:
    """The lines of an output without what differs from run to run: times, addresses, and their order."""
    text = plain(output)
    for pattern, replacement in _VOLATILE:
        text = pattern.sub(replacement, text)
    return tuple(sorted(line.strip() for line in text.splitlines() if line.strip()))


def make_signature(attempt: AttemptState) -> Signature | None:
    """The failure in a form that can be compared with others; None when there is nothing to compare.

    It is the first failed gate if the agent reported completion or the user changed the folder afterwards,
    else the error with which the agent ended.
    """
    end = attempt.end
    by_hand = attempt.candidate is not None and attempt.candidate.by_hand
    if end is None or end.status == "completed" or by_hand:
        failed = next(iter(attempt.failed_gates), None)
        return None if failed is None else (failed.command.strip(), failed.exit_code, normalise(failed.tail))
    said = end.claim.summary if end.claim is not None and end.claim.summary else end.reason
    return (end.status, end.exit_code, normalise(said or ""), normalise(end.stderr_tail))


def find_repeated_failure(state: RunState) -> tuple[str, str] | None:
    """The last two tasks that have ended, if both failed in the same way; None otherwise."""
    ended = [task for task in state.tasks.values() if task.ended_n]
    *_, before, last = [None, None, *sorted(ended, key=lambda task: task.ended_n)]
    if before is None or last is None or not (before.has_failed and last.has_failed):
        return None
    signature = _signature_of(last)
    if signature is None or signature != _signature_of(before):
        return None
    return before.entry.id, last.entry.id


def _signature_of(task: TaskState) -> Signature | None:
    return None if task.last is None else make_signature(task.last)
