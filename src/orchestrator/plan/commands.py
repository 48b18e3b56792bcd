"""Which fenced blocks are commands, and which commands check nothing."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.plan.blocks import Block
from orchestrator.plan.diagnostics import finding
from orchestrator.plan.fields import Field
from orchestrator.plan.model import Diagnostic
from orchestrator.plan.values import SHELLS, only_code

# A quote that is never closed goes to the end of its line; looked for again from each one, it costs
# quadratic time.
_QUOTED = re.compile(r"'[^'\n]*+'?|\"(?:\\.|[^\"\\\n])*+\"?")
_BETWEEN = re.compile(r"&&|\|\||[;\n]")
_NOTHING = re.compile(
    r"\s*(?:(?:true|:|exit(?:\s+0)?|pwd)\s*|(?:echo|printf|cd|set|export|sleep)\b[^|<>]*|#.*)?", re.DOTALL
)
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


def commands_of(fields: Iterable[Field], *, whose: str) -> Commands:
    """One fenced block, or a value or list item that is a single code span, is one command, as it stands."""
    commands: list[str] = []
    findings: list[Diagnostic] = []
    for field in fields:
        for inline in _inline(field):
            commands.append(inline)
            findings += [*_vacuous(inline, field.line, whose), *_prompted(inline, field.line, whose)]
        for block in field.fences:
            if block.info == "" and _SHOWS_OUTPUT.search(field.label):
                continue
            findings += _block_findings(block, whose)
            if is_command(block):
                commands.append(block.text.rstrip("\n"))
    return Commands(commands=tuple(commands), diagnostics=tuple(findings))


def _inline(field: Field) -> list[str]:
    """Under a label that names something else (a place, a file), a code span is no command."""
    if field.label and field.meaning not in ("verify", "smoke") and not _RUNS.search(field.label):
        return []
    whole = only_code(field.value)
    found = [whole] if whole is not None else [only_code(_ITEM.sub("", line.text)) for line in field.lines]
    return [command for command in found if command is not None]


def is_command(block: Block) -> bool:
    return (block.info == "" or block.info in SHELLS) and block.text.strip() != ""


def is_vacuous(command: str) -> bool:
    """Whether a command succeeds whatever the work is like."""
    text = _COMMENT.sub("", _QUOTED.sub("q", command))
    if _FORGIVEN.search(text.rstrip()):
        return True
    return all(_NOTHING.fullmatch(piece) for piece in _BETWEEN.split(text))


def _block_findings(block: Block, whose: str) -> list[Diagnostic]:
    if block.info not in ("", *SHELLS):
        return [finding("not-a-command", block.first, f"{whose}: a block of `{block.info[:20]}` is not run")]
    findings = [*_vacuous(block.text, block.first, whose), *_prompted(block.text, block.first, whose)]
    if block.info == "" and block.text.strip():
        message = f"{whose}: a block without a language is read as a command"
        findings.append(finding("untagged-command", block.first, message))
    return findings


def _prompted(command: str, line: int, whose: str) -> list[Diagnostic]:
    if _PROMPT.match(command) is None:
        return []
    return [finding("shell-prompt", line, f"{whose}: the shell takes the prompt `$` for a program")]


def _vacuous(command: str, line: int, whose: str) -> list[Diagnostic]:
    if not is_vacuous(command):
        return []
    return [finding("vacuous-verify", line, f"{whose}: the command succeeds whether the work is done or not")]
