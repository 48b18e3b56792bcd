"""Which fenced blocks are commands, and which commands check nothing."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.plan.blocks import Block
from orchestrator.plan.diagnostics import finding
from orchestrator.plan.fields import Field
from orchestrator.plan.model import Diagnostic
from orchestrator.plan.values import SHELLS, only_code

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
_ITEM = re.compile(r"\s*[-*+]\s+(?:\[[ xX]\]\s+)?")
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
        for inline in _inline_commands(field):
            commands.append(inline)
            findings += _findings_about(inline, field.line, whose)
        for block in field.fences:
            if block.info == "" and _SHOWS_OUTPUT.search(field.label):
                continue
            findings += _block_findings(block, whose)
            if is_command(block):
                commands.append(block.text.rstrip("\n"))
    return Commands(commands=tuple(commands), diagnostics=tuple(findings))


def _inline_commands(field: Field) -> list[str]:
    """Commands in code spans. Under a label for something else (a folder) a code span is not a command."""
    if field.label and field.meaning not in ("verify", "smoke") and not _RUNS.search(field.label):
        return []
    whole = only_code(field.value)
    found = [whole] if whole is not None else [only_code(_ITEM.sub("", line.text)) for line in field.lines]
    return [command for command in found if command is not None]


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
