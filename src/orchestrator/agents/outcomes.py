"""The outcome file: what an agent without a structured stream writes, read on the host.

The agent chose everything about this file: its kind, size and content. Nothing here follows a link, waits
for a writer or reads more than the contract allows.
"""

from pathlib import Path
from typing import Any, Final

from orchestrator.agents.json_object import decode_object
from orchestrator.events import OUTCOME_MAX_BYTES, OUTCOME_MAX_OPTIONS, InvalidOutcome, Outcome, parse_outcome
from orchestrator.files import NotRegular, TooLarge, read_regular

OUTCOME_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "status": {
            "type": "string",
            "enum": ["completed", "failed", "needs_human"],
            "description": "completed: the task is done and its checks pass; failed: it cannot be done; "
            "needs_human: only a person can decide, and `question` says what",
        },
        "summary": {"type": "string", "description": "What was done, in a few sentences."},
        "handoff": {
            "type": "string",
            "description": "Markdown for whoever does the next task: decisions, and what to know.",
        },
        "question": {"type": "string", "description": "Required with needs_human: one question."},
        "options": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": OUTCOME_MAX_OPTIONS,
            "description": "Possible answers to the question.",
        },
        "recommendation": {"type": "string", "description": "The answer you would give, and why."},
    },
    "required": ["status", "summary", "handoff"],
    "additionalProperties": False,
}
"""For agents that take a JSON schema; `parse_outcome` checks what it cannot say."""


def read_outcome_file(path: Path) -> Outcome | InvalidOutcome | None:
    """The outcome an agent wrote, or None without a file; never raises for what an agent can write."""
    try:
        raw = read_regular(path, limit=OUTCOME_MAX_BYTES)
    except FileNotFoundError:
        return None
    except (NotRegular, TooLarge) as error:
        return InvalidOutcome(reason=f"the outcome file is {error.strerror}")
    except OSError as error:
        return InvalidOutcome(reason=f"the outcome file cannot be read: {error.strerror}")
    try:
        return parse_outcome(decode_object(raw))
    except UnicodeDecodeError:
        return InvalidOutcome(reason="the outcome file is not UTF-8")
    except ValueError as error:
        return InvalidOutcome(reason=f"the outcome file is not a JSON object: {error}")
