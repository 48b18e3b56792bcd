"""Writes the reference of all errors: `python -m orchestrator.cli.error_reference > docs/errors.md`.

The errors are found in the syntax trees of the package, so no error can be missing. A value that an error
gets at run time is shown by its name in the code, such as <path>.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from orchestrator import errors
from orchestrator.errors import OrchestratorError
from orchestrator.shipped_files import PACKAGE

_INTRODUCTION = """\
# Errors

This page is written by `python -m orchestrator.cli.error_reference > docs/errors.md`; a test compares them.

Every error is printed on standard error: `error: `, the place where there is one, what happened, and in the
next line what to do. `<path>` and other names in angle brackets stand for values. The headings say
why such an error occurs and what it leaves behind. Messages that consist of another program's words, such as
those of git, are not listed. Errors and warnings in plans are in [plan-diagnostics.md](plan-diagnostics.md).

An error that is not on this page is a bug in the orchestrator: exit code 70, and a report to paste. The run
stays as its last stored fact says, and `orchestrator resume` continues it.
"""

_KINDS: dict[str, tuple[str, str]] = {
    "UsageError": (
        "The command line, or something that it names, is wrong.",
        "Nothing was started or changed.",
    ),
    "PlanError": ("The plan cannot be read.", "Nothing was started or changed."),
    "ConfigurationError": (
        "A setting is unknown, has a wrong type, or needs your approval.",
        "Nothing was started or changed.",
    ),
    "EnvironmentInvalid": (
        "The folder, the repository, the container engine, the image or the credential cannot be used.",
        "Before the first attempt nothing was changed. Later the run is parked, and `resume` continues it.",
    ),
    "FolderBusy": ("Another command is at work in the code folder.", "Nothing was started or changed."),
    "SetupFailed": (
        "The project's dependencies cannot be installed.",
        "Before the first attempt nothing was changed. Later the run is parked, and `resume` continues it.",
    ),
    "CannotStart": (
        "A container cannot be started at all.",
        "Nothing was started or changed.",
    ),
    "CodingAgentError": (
        "The container engine failed or refused something. The message has the engine's own words.",
        "The run is parked, and `resume` continues it. Finished work stays on the branch.",
    ),
    "CodingAgentTimeout": (
        "A command in a container took longer than it may.",
        "The command was killed. A gate counts as failed; otherwise the run is parked.",
    ),
    "WorkspaceError": (
        "The repository or the folder has changed under the run, or git failed.",
        "Nothing was added to your branch. The run is parked, and `resume` continues it.",
    ),
    "StorageError": (
        "A file cannot be written, because a disk is full, read-only or failing.",
        "The run is parked as soon as the journal can be written. Everything that was stored is kept.",
    ),
}
"""For each class of errors: why such an error occurs, and the state that it leaves."""


class Place(NamedTuple):
    """One place in the code that makes an error."""

    kind: type[OrchestratorError]
    what: str
    hint: str | None
    module: str
    line: int


def find_places(package: Path = PACKAGE) -> Iterator[Place]:
    """Every call of an error class in the package, except in the fakes for tests."""
    for path in sorted(package.rglob("*.py")):
        name = str(path.relative_to(package))
        if name.startswith("testing/") or name in ("errors.py", "cli/error_reference.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and (place := _read_call(node, name)) is not None:
                yield place


def render() -> str:
    """The page as Markdown."""
    found: dict[str, set[tuple[str, str]]] = {name: set() for name in _KINDS}
    for place in find_places():
        if _has_words(place.what):
            found[place.kind.__name__].add((place.what, place.hint or place.kind.usual_hint or ""))
    parts = [_INTRODUCTION]
    for name, (why, left) in _KINDS.items():
        code = getattr(errors, name).exit_code
        parts += [f"## {name} (exit code {code})", "", f"{why} {left}", ""]
        for what, hint in sorted(found[name]):
            parts += [f"- {_span(what)}", *([f"  {_span(hint)}"] if _has_words(hint) else [])]
        parts.append("")
    return "\n".join(parts)


def _has_words(text: str) -> bool:
    """Whether there are words of its own between the values."""
    return re.search(r"\w", re.sub(r"<[^<>]*>", "", text)) is not None


def _read_call(node: ast.Call, module: str) -> Place | None:
    kind = getattr(errors, node.func.id, None) if isinstance(node.func, ast.Name) else None
    if not (isinstance(kind, type) and issubclass(kind, OrchestratorError)) or not node.args:
        return None
    given = {each.arg: each.value for each in node.keywords}
    what = _read_text(node.args[0])
    if "where" in given and not (isinstance(given["where"], ast.Constant) and given["where"].value is None):
        what = f"{_read_text(given['where'])}: {what}"
    hint = _read_text(given["hint"]) if "hint" in given else None
    return Place(kind=kind, what=what, hint=hint, module=module, line=node.lineno)


def _read_text(node: ast.expr) -> str:
    """A text as the reader sees it, with <name> for a value."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_read_text(part) for part in parts)
        case ast.FormattedValue(value=value):
            return _read_text(value) if isinstance(value, ast.Constant) else f"<{_name_value(value)}>"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _read_text(left) + _read_text(right)
        case ast.IfExp(body=body, orelse=other):
            texts = [_read_text(each) for each in (body, other)]
            return " or: ".join(text for text in texts if text not in ("", "<None>"))
        case ast.BoolOp(op=ast.Or(), values=values):
            return " or: ".join(_read_text(value) for value in values)
        case _:
            return f"<{_name_value(node)}>"


def _name_value(node: ast.expr) -> str:
    """The name that says most about a value: the last one in the expression."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").lower().replace("_", " ")
        case ast.Call(args=[first, *_]):
            return _name_value(first)
        case ast.Call(func=ast.Attribute(value=ast.Constant()) as func):
            return _name_value(func)
        case ast.Call(func=func):
            return _name_value(func)
        case ast.Subscript(value=value) | ast.Await(value=value) | ast.Starred(value=value):
            return _name_value(value)
        case ast.GeneratorExp(elt=value) | ast.ListComp(elt=value):
            return _name_value(value)
        case ast.BinOp(left=value):
            return _name_value(value)
        case ast.BoolOp(values=[value, *_]):
            return _name_value(value)
        case ast.IfExp(body=value):
            return _name_value(value)
        case _:
            return "…"


def _span(text: str) -> str:
    """A text as code in one line of Markdown."""
    line = " ".join(text.split())
    return f"`` {line} ``" if "`" in line else f"`{line}`"


if __name__ == "__main__":
    print(render(), end="")
