"""The outcome file of an agent without a structured stream, read on the host.

The agent controls this path completely: it may be a link to a file of the user, a pipe that never ends, or
gigabytes. So reading follows no link, waits for no writer, and stops at the size that the contract allows.
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
            "needs_human: only the user can decide; `question` asks for the decision",
        },
        "summary": {"type": "string", "description": "What was done, in a few sentences."},
        "handoff": {
            "type": "string",
            "description": "Markdown for the agent of the next task: decisions, and facts worth knowing.",
        },
        "question": {"type": "string", "description": "Required with needs_human: one question."},
        "options": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": OUTCOME_MAX_OPTIONS,
            "description": "Possible answers to the question.",
        },
        "recommendation": {"type": "string", "description": "The answer you would give, and why."},
        "no_change": {
            "type": "string",
            "description": "Only if no file had to be changed: why the task is done nevertheless.",
        },
        "checks": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": OUTCOME_MAX_OPTIONS,
            "description": "Shell commands, run at the root of the repository, that fail without your work "
            "and pass with it.",
        },
    },
    "required": ["status", "summary", "handoff"],
    "additionalProperties": False,
}
"""For agents that accept a JSON schema; `parse_outcome` checks the rules that a schema cannot express."""


def read_outcome_file(path: Path) -> Outcome | InvalidOutcome | None:
    """The agent's outcome, or None without a file. A file of any content never raises an error."""
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
