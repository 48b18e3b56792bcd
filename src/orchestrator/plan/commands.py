"""Decides which fenced blocks are commands, and finds commands that check nothing."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.plan.blocks import Block
from orchestrator.plan.boxes import BULLET, read_box
from orchestrator.plan.diagnostics import NOT_VERIFY, finding
from orchestrator.plan.fields import Field, Line
from orchestrator.plan.model import Diagnostic
from orchestrator.plan.values import SHELLS, means_none, only_code

# A quote that is never closed ends with its line. If it had to be closed, each quote would search the rest of
# the text for its end, which takes quadratic time.
_QUOTED = re.compile(r"'[^'\n]*+'?|\"(?:\\.|[^\"\\\n])*+\"?")
_BETWEEN = re.compile(r"&&|\|\||[;\n]")
_NOTHING = re.compile(
    r"\s*(?:(?:true|:|exit(?:\s+0)?|pwd)\s*|(?:echo|printf|cd|set|export|sleep)\b[^|<>]*|#.*)?", re.DOTALL
)
# `|| true` and a last `exit 0` turn every failure into success.
_FORGIVEN = re.compile(r"\|\|\s*(?:true|:|exit\s+0)\s*$|(?:^|[;\n])[ \t]*exit[ \t]+0\s*$")
_PROMPT = re.compile(r"\s{0,100}\$ +\S")
_COMMENT = re.compile(r"(?:^|\s)#.*$", re.MULTILINE)
_RUNS = re.compile(r"\b(?:run|runs|commands?|cmd|execute)\b", re.IGNORECASE)
_ITEM = re.compile(rf"\s*{BULLET}\s+")
_SHOWS_OUTPUT = re.compile(r"expect|output|result|example|response", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    commands: tuple[str, ...]
    diagnostics: tuple[Diagnostic, ...]


def read_commands(fields: Iterable[Field], *, whose: str) -> Commands:
    """The commands under these fields, and findings about them; `whose` begins each message.

    One command is a fenced block, or a value or list item that is a single code span. Its text is unchanged.
    """
    commands: list[str] = []
    findings: list[Diagnostic] = []
    for field in fields:
        inline, unread = _read_inline(field, whose)
        findings += unread
        for command in inline:
            commands.append(command)
            findings += _findings_about(command, field.line, whose)
        for block in field.fences:
            if block.info == "" and _SHOWS_OUTPUT.search(field.label):
                continue
            findings += _block_findings(block, whose)
            if is_command(block):
                commands.append(block.text.rstrip("\n"))
    return Commands(commands=tuple(commands), diagnostics=tuple(findings))


def _read_inline(field: Field, whose: str) -> tuple[list[str], list[Diagnostic]]:
    """Commands in code spans. Under a label for something else (a folder) a code span is not a command.

    Under a label for commands, each line that is not one is a finding: it is not run.
    """
    if field.label and field.meaning not in ("verify", "smoke") and not _RUNS.search(field.label):
        return [], []
    whole = only_code(field.value)
    if whole is not None:
        return [whole], []
    commands, findings = [], []
    continues = False
    for line in field.lines:
        command = only_code(strip_bullet(line))
        has_box = read_box(line.number, line.text) is not None
        continues = continues and not has_box and _ITEM.match(line.text) is None
        if command is not None:
            commands.append(command)
        elif field.meaning == "verify" and not continues and (has_box or _should_run(line.text)):
            message = f"{whose}: `{line.text.strip()[:60]}` is not run; only a line that is one code span is"
            findings.append(finding("unread-command", line.number, message))
        continues = command is None and line.text.strip() != ""
    return commands, findings


_LABELLED = re.compile(
    rf"\s*(?:{BULLET}\s+)?[*_]{{0,2}}([A-Za-z][A-Za-z ]{{2,40}}):[*_]{{0,2}}\s*`[^`\n]+`\.?\s*"
)
_CHECKS = re.compile(
    r"\W*(?:(?:unit|integration|acceptance|automated|final|quick)\s+)?(?:tests?|testing|checks?|validat(?:e|ion)"
    r"(?:\s+(?:loop|gates?|steps?))?|(?:test)?\s*commands?|how to (?:test|run))\W*",
    re.IGNORECASE,
)


def mentions_checks(label: str) -> bool:
    """Whether a label or heading is about commands that check the work, and is not one that is read."""
    return _CHECKS.fullmatch(label) is not None


def find_unused_commands(fields: Iterable[Field], *, whose: str) -> Iterator[Diagnostic]:
    """A finding for each label such as `**Test:**` with a command under it: it is not run."""
    for field in fields:
        if field.meaning not in ("verify", "smoke", "acceptance"):
            for line in field.lines:
                label = _LABELLED.fullmatch(line.text) if line.text.rstrip(" .").endswith("`") else None
                if label is not None and mentions_checks(label[1]):
                    message = f"{whose}: the command under `{label[1]}` is not run"
                    yield finding("unread-command", line.number, message, rule=NOT_VERIFY)
        if field.meaning != "other" or not mentions_checks(field.label):
            continue
        has_block = any(block.info in SHELLS and is_command(block) for block in field.fences)
        if has_block or any(only_code(strip_bullet(line)) for line in field.lines):
            message = f"{whose}: the commands under `{field.label[:40]}` are not run"
            yield finding("unread-command", field.line, message, rule=NOT_VERIFY)


def _should_run(text: str) -> bool:
    """Whether a line is more than a heading of the commands below it."""
    return text.strip() != "" and not text.rstrip().endswith(":") and not means_none(text)


def strip_bullet(line: Line) -> str:
    """The text of a list item without its bullet and box."""
    box = read_box(line.number, line.text)
    return box.text if box is not None else _ITEM.sub("", line.text, count=1)


def is_command(block: Block) -> bool:
    return (block.info == "" or block.info in SHELLS) and block.text.strip() != ""


def is_vacuous(command: str) -> bool:
    """Whether a command succeeds even if the task was not done."""
    text = _COMMENT.sub("", _QUOTED.sub("q", command))
    if _FORGIVEN.search(text.rstrip()):
        return True
    return all(_NOTHING.fullmatch(piece) for piece in _BETWEEN.split(text))


def _block_findings(block: Block, whose: str) -> list[Diagnostic]:
    if block.info not in ("", *SHELLS):
        return [finding("not-a-command", block.first, f"{whose}: a block of `{block.info[:20]}` is not run")]
    findings = _findings_about(block.text, block.first, whose)
    if block.info == "" and block.text.strip():
        message = f"{whose}: a block without a language is read as a command"
        findings.append(finding("untagged-command", block.first, message))
    return findings


def _findings_about(command: str, line: int, whose: str) -> list[Diagnostic]:
    findings = []
    if is_vacuous(command):
        message = f"{whose}: the command succeeds whether the work is done or not"
        findings.append(finding("vacuous-verify", line, message))
    if _PROMPT.match(command) is not None:
        message = f"{whose}: the shell would run the prompt `$` as a program"
        findings.append(finding("shell-prompt", line, message))
    return findings
