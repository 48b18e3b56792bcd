"""The scripted model: chooses the step that answers a request. Pure, and without memory.

The number of the step is the number of assistant turns in the request. So a retry, a resumed session and a
restarted gateway all get the same answer. Turns that the agent's CLI inserts itself are not counted:

* the message "No response requested.", which closes an interrupted turn when a session is resumed;
* the answer to the CLI's reminder that an outcome is missing. The reminder is answered with a plain text,
  which is not a step of the script.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.gateway.script import Answer, Script, Step, Steps, TaskScript

CLOSED_TURN = "No response requested."
REMINDER = "[structured-output-enforce]"
# The CLI (2.1.332) puts texts of its own into the user's messages; these are their beginnings, with which no
# prompt begins. After an attempt that ended in an error, the next prompt and the result of the last tool
# share one message, so each text of a message has to be compared.
NOT_A_PROMPT = (
    "<system-reminder>",
    "[Request interrupted",
    "Output token limit hit.",
    "Your response above was",
    REMINDER,
)
REMINDED = Answer(text="The script has no outcome here.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """The assistant turns of a conversation so far."""

    total: int
    since_prompt: int
    """Turns after the last message with a prompt; tool results and texts of the CLI are not prompts."""
    reminded: bool
    """Whether the last message of the user is the CLI's reminder of a missing outcome."""


def next_step(
    script: Script, *, task: str, attempt: int, messages: Sequence[Mapping[str, Any]], subagent: bool
) -> Step:
    """The step that answers this conversation; after the last step, a final answer."""
    turns = count_turns(messages)
    found = script.for_task(task)
    if found is None:
        return Answer(text=f"The script has no steps for task {task}.")
    if turns.reminded:
        return REMINDED
    if subagent:
        return _step_at(found.subagents, turns.total) or Answer(text="Done.")
    if found.attempts:
        steps = found.attempts[min(attempt, len(found.attempts)) - 1]
        return _step_at(steps, turns.since_prompt) or _last_outcome(found)
    return _step_at(found.steps, turns.total) or _last_outcome(found)


def _step_at(steps: Steps, number: int) -> Step | None:
    return steps[number] if number < len(steps) else None


def _last_outcome(task: TaskScript) -> Answer:
    """Repeats the last outcome of the task's script; without any, a text."""
    steps = [step for attempt in (task.attempts or (task.steps,)) for step in attempt]
    for step in reversed(steps):
        if isinstance(step, Answer) and step.outcome is not None:
            return Answer(outcome=step.outcome)
    return Answer(text="The script has no more steps.")


def count_turns(messages: Sequence[Mapping[str, Any]]) -> Turns:
    total = since_prompt = 0
    reminded = False
    for message in messages:
        if message.get("role") == "user":
            reminded = REMINDER in _text(message)
            if _has_prompt(message):
                since_prompt = 0
        elif message.get("role") == "assistant" and not reminded and _text(message) != CLOSED_TURN:
            total += 1
            since_prompt += 1
    return Turns(total=total, since_prompt=since_prompt, reminded=reminded)


def _blocks(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _text(message: Mapping[str, Any]) -> str:
    blocks = _blocks(message)
    if any(block.get("type") == "tool_use" for block in blocks):
        return ""
    return "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text").strip()


def _has_prompt(message: Mapping[str, Any]) -> bool:
    texts = [str(block.get("text", "")).strip() for block in _blocks(message) if block.get("type") == "text"]
    return any(text and not text.startswith(NOT_A_PROMPT) for text in texts)
