from typing import Any

import pytest

from orchestrator.gateway.script import Answer, Drop, Script, Step, TaskScript
from orchestrator.gateway.scripted import REMINDED, count_turns, next_step

FIRST, SECOND, THIRD, FOURTH = (Answer(text=word) for word in ("first", "second", "third", "fourth"))
CLAIM = Answer(text="I am done.", outcome={"status": "completed"})

Message = dict[str, Any]


def user(*texts: str) -> Message:
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def result(*texts: str) -> Message:
    return {"role": "user", "content": [{"type": "tool_result", "content": "ok"}, *user(*texts)["content"]]}


def says(text: str) -> Message:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


CALLS: Message = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}],
}
PROMPT = user("<system-reminder>\nAttribution", "Task 1: do it")
AGAIN = user("Attempt 2: the check failed")
REMINDER = user("[structured-output-enforce] You MUST call the StructuredOutput tool")
CLOSED = says("No response requested.")

COUNTS = {
    "first request": ([PROMPT], (0, 0)),
    "prompt as a string": ([{"role": "user", "content": "Task 1"}], (0, 0)),
    "system entries": ([PROMPT, {"role": "system", "content": "# Environment"}], (0, 0)),
    "after a tool": ([PROMPT, CALLS, result()], (1, 1)),
    "reminder of the system beside a result": ([PROMPT, CALLS, result("<system-reminder>\nx")], (1, 1)),
    "resumed after the outcome": ([PROMPT, CALLS, result(), CALLS, result(), CLOSED, AGAIN], (2, 0)),
    "resumed after prose": ([PROMPT, CALLS, result(), says("done"), AGAIN], (2, 0)),
    "resumed after a reminder": ([PROMPT, says("done"), REMINDER, says("no outcome"), AGAIN], (1, 0)),
    "resumed after an error": ([PROMPT, CALLS, result("Attempt 2")], (1, 0)),
    "resumed, then a tool": ([PROMPT, CALLS, result("Attempt 2"), CALLS, result()], (2, 1)),
    "interrupted": ([PROMPT, CALLS, result("[Request interrupted by user for tool use]"), CLOSED], (1, 1)),
    "token limit": ([PROMPT, says("long"), user("Output token limit hit. Resume directly")], (1, 1)),
    "nonsense": ([{"role": 3}, {"role": "user", "content": 7}, {"role": "user", "content": ["x"]}], (0, 0)),
}  # fmt: skip


@pytest.mark.parametrize(("messages", "expected"), COUNTS.values(), ids=COUNTS.keys())
def test_turns_that_the_cli_makes_up_are_not_counted(
    messages: list[Message], expected: tuple[int, int]
) -> None:
    turns = count_turns(messages)
    assert (turns.total, turns.since_prompt) == expected


def play(task: TaskScript, messages: list[Message], *, attempt: int = 1, subagent: bool = False) -> Step:
    return next_step(
        Script(tasks={"1": task}), task="1", attempt=attempt, messages=messages, subagent=subagent
    )


STEPS = TaskScript(steps=(FIRST, SECOND, CLAIM))
BY_ATTEMPT = TaskScript(attempts=((FIRST, Drop(drop=True)), (SECOND, THIRD)), subagents=(FOURTH,))


OVER = [PROMPT, *[CALLS, result()] * 9, AGAIN]
SAME_AGAIN = [PROMPT, CALLS, result("Again")]

PLAYED = {
    "steps: the first": (STEPS, 1, [PROMPT], FIRST),
    "a later attempt continues the steps": (STEPS, 2, [PROMPT, CALLS, result(), AGAIN], SECOND),
    "a lost session starts from the first step": (STEPS, 2, [PROMPT], FIRST),
    "past the end": (STEPS, 3, OVER, Answer(outcome=CLAIM.outcome)),
    "a reminder uses up no step": (STEPS, 1, [PROMPT, says("done"), REMINDER], REMINDED),
    "attempts: the first's second": (BY_ATTEMPT, 1, [PROMPT, CALLS, result()], Drop(drop=True)),
    "attempts: the second's first": (BY_ATTEMPT, 2, SAME_AGAIN, SECOND),
    "attempts: beyond the last": (BY_ATTEMPT, 7, SAME_AGAIN, SECOND),
    "no claim": (BY_ATTEMPT, 2, OVER[:-1], Answer(text="The script has no more steps.")),
}


@pytest.mark.parametrize(("task", "attempt", "messages", "expected"), PLAYED.values(), ids=PLAYED.keys())
def test_which_step_is_played(
    task: TaskScript, attempt: int, messages: list[Message], expected: Step
) -> None:
    assert play(task, messages, attempt=attempt) == expected


def test_a_subagent_has_its_own_list() -> None:
    assert play(BY_ATTEMPT, [user("look")], subagent=True) == FOURTH
    assert play(BY_ATTEMPT, [user("look"), CALLS, result()], subagent=True) == Answer(text="Done.")


def test_a_task_without_a_script_gets_no_outcome() -> None:
    step = next_step(Script(tasks={"1": STEPS}), task="2", attempt=1, messages=[PROMPT], subagent=False)
    assert isinstance(step, Answer) and step.outcome is None and "task 2" in step.text
