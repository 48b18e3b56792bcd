"""Every finding that a reader can report about a plan: its code, its severity, and how to fix it."""

from dataclasses import dataclass

from orchestrator.plan.model import Diagnostic, Severity
from orchestrator.text import one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    severity: Severity
    hint: str


RULES: dict[str, Rule] = {
    "duplicate-id": Rule(severity="error", hint="Give each task an id of its own."),
    "bad-task-id": Rule(
        severity="error", hint="An id is letters, digits and dots, such as 7, 3.1, 4.2.1, 3b.1, A.1 or M3.2."
    ),
    "dependency-cycle": Rule(severity="error", hint="Remove one of the dependencies on the path."),
    "unterminated-fence": Rule(severity="error", hint="Close the fenced block with a line of its own."),
    "bad-branch": Rule(severity="error", hint="Write a name that `git check-ref-format --branch` accepts."),
    "ambiguous-fence": Rule(
        severity="warning", hint="Give the outer fence one backtick more than the fences inside it."
    ),
    "unterminated-html": Rule(
        severity="warning", hint="Close the comment or the tag: everything below it is inside it."
    ),
    "unknown-dependency": Rule(
        severity="warning", hint="The dependency is ignored; name a task of this plan if you meant one."
    ),
    "unreadable-dependency": Rule(
        severity="warning", hint="Name tasks by id, as in `3.1, 3.2`, or write `none`."
    ),
    "no-acceptance": Rule(severity="warning", hint="Add **Acceptance Criteria:** with a list of checkboxes."),
    "no-verify": Rule(
        severity="warning", hint="Add **Verify:** with a ```bash block that fails until the task is done."
    ),
    "vacuous-verify": Rule(
        severity="warning", hint="Use a command that fails while the task is not done, such as a test."
    ),
    "unread-command": Rule(
        severity="warning", hint="Write each command as one code span, or put it in a ```bash block."
    ),
    "unread-checkbox": Rule(
        severity="warning",
        hint="Write `- [ ]` for open and `- [x]` for done, in the form of the plan's tasks.",
    ),
    "unread-state": Rule(
        severity="warning", hint="Write **Status:** Done for a finished task; the mark alone does not count."
    ),
    "not-a-command": Rule(
        severity="warning", hint="Put commands in a ```bash block; other blocks are not run."
    ),
    "shell-prompt": Rule(severity="warning", hint="Remove the `$ `: a command runs exactly as written."),
    "untagged-command": Rule(
        severity="warning", hint="Write ```bash when it is a command and ```text when it is not."
    ),
    "placeholder": Rule(
        severity="warning",
        hint="Replace it with text of your own: it is a placeholder that `orchestrator plan new` wrote.",
    ),
    "empty-description": Rule(severity="warning", hint="Say under **Description:** what the task must do."),
    "numbers-begin-again": Rule(severity="warning", hint="Give each task of the plan a number of its own."),
    "unknown-type": Rule(severity="warning", hint="Use CODING, RESEARCH, MIXED, VALIDATION or VERIFICATION."),
    "not-a-task": Rule(severity="warning", hint="A task is a heading such as ## Task 3.1: What to do"),
    "other-tags": Rule(severity="warning", hint="Keep the tasks of this plan under one tag."),
    "several-e2e": Rule(severity="warning", hint="Keep one end-to-end section."),
    "unknown-front-matter": Rule(
        severity="warning", hint="Known keys: id, title, branch, builds_on, goal, design, architecture."
    ),
    "bad-front-matter": Rule(severity="warning", hint="Write `key: value` lines between two `---` lines."),
    "hidden-character": Rule(
        severity="warning", hint="Remove it: it can make the text look different from what a program reads."
    ),
    "optional-task": Rule(severity="info", hint="It runs like the others; mark it as done to skip it."),
    "counts-as-done": Rule(severity="info", hint="It is not carried out; remove the mark if it should be."),
    "read-as-validation": Rule(
        severity="info", hint="It may change nothing; write **Type:** CODING if it has to change files."
    ),
    "task-in-fence": Rule(severity="info", hint="Ignore this if the block is a sample."),
    "left-out-task": Rule(severity="info", hint="Change its status or its marks if it should run."),
}


OWN_DEPENDENCY = Rule(severity="error", hint="Fix the id or remove the dependency.")
"""Replaces the rule of unknown-dependency if the id can only mean a task of this plan."""


NO_GATE = Rule(
    severity="warning",
    hint='Add `task = ["make test"]` under [verify] in orchestrator.toml, or **Verify:** to the tasks.',
)
"""Replaces the rule of no-verify if no task has a command."""


LIST_IN_FENCE = Rule(
    severity="warning",
    hint="If these are tasks of this plan, write a heading for each: ### Task 1: What to do",
)
"""Replaces the rule of task-in-fence if a fenced block has a list of tasks."""

NOT_VERIFY = Rule(
    severity="warning",
    hint="Write **Verify:** above a command that checks a task, or `## Validation Commands`.",
)
"""Replaces the rule of unread-command if the command stands where none is read."""


def finding(code: str, line: int, message: str, *, rule: Rule | None = None) -> Diagnostic:
    rule = rule or RULES[code]
    return Diagnostic(line=line, severity=rule.severity, code=code, message=message, hint=rule.hint)


def describe(entry: Diagnostic, *, path: str) -> str:
    """One finding as `plan check` and `run` print it.

    Place, severity, code, message; below, the fix.
    """
    place = f"{one_line(path, 4096)}:{entry.line}"
    message = one_line(entry.message, 300)
    return f"{place}: {entry.severity} {entry.code} {message}\n    {one_line(entry.hint, 300)}"
