"""Task Master's tasks.json: tasks with subtasks, flat or under tags."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import PlanError
from orchestrator.plan.diagnostics import finding
from orchestrator.plan.draft import Draft, Milestone
from orchestrator.plan.model import Criterion, Diagnostic, Span
from orchestrator.plan.states import decide_state
from orchestrator.plan.values import Reference

_BEGINS = re.compile(r"\s*(?:\{\s*[\"}]|\[\s*(?:[\[{]\s*[\"{\[}\]]|\]\s*$))")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]', re.DOTALL)


class _Located(dict[str, Any]):
    """A JSON object that knows its lines."""

    lines: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A task or subtask with its full id."""

    value: _Located
    id: str
    parent: str | None
    siblings: frozenset[str]


def looks_like_json(text: str) -> bool:
    """The first character alone is not enough: a Markdown plan may begin with a link, a badge or `[TOC]`."""
    return _BEGINS.match(text) is not None


def read_task_master(text: str, path: str) -> Milestone:
    document = _load_json(text, path)
    tasks, findings = _choose_tasks(document)
    drafts = [_build_draft(entry) for entry in _flatten(tasks, findings)]
    return Milestone(
        id=None,
        title=_project_name(document),
        branch=None,
        goal="",
        drafts=tuple(drafts),
        end_to_end=None,
        diagnostics=tuple(findings),
        ids_are_local=True,
    )


def _load_json(text: str, path: str) -> object:
    spans = _object_spans(text)

    def keep_lines(pairs: list[tuple[str, Any]]) -> _Located:
        value = _Located(pairs)
        value.lines = next(spans)
        return value

    try:
        return json.loads(text, object_pairs_hook=keep_lines)
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}"
        raise PlanError(
            f"the file is not JSON: {error.msg}", where=where, hint="Fix the JSON, or export it again."
        ) from None
    except (RecursionError, ValueError):
        hint = "Check that this is a tasks.json."
        raise PlanError(
            "the JSON is nested too deeply or contains too long a number", where=path, hint=hint
        ) from None


def _object_spans(text: str) -> Iterator[Span]:
    """The lines of each object, in the order in which the objects end.

    The order in which `json` builds them.
    """
    line, at = 1, 0
    starts: list[int] = []
    for token in _TOKEN.finditer(text):
        if token[0][0] == '"':
            continue
        line += text.count("\n", at, token.start())
        at = token.start()
        if token[0] == "{":
            starts.append(line)
        else:
            yield Span(first=starts.pop(), last=line)


def _choose_tasks(document: object) -> tuple[list[Any], list[Diagnostic]]:
    if isinstance(document, list):
        return document, []
    if not isinstance(document, dict):
        return [], []
    if isinstance(document.get("tasks"), list):
        return document["tasks"], []
    tags = {
        name: value["tasks"]
        for name, value in document.items()
        if isinstance(value, dict) and isinstance(value.get("tasks"), list)
    }
    filled = [tag for tag, found in tags.items() if found]
    name = "master" if "master" in (filled or tags) else next(iter(filled or tags), None)
    if name is None:
        return [], []
    message = f"only the tasks under the tag `{_text(name)[:40]}` are read"
    return tags[name], [finding("other-tags", 1, message)] if len(tags) > 1 else []


def _flatten(tasks: list[Any], findings: list[Diagnostic]) -> Iterator[_Entry]:
    for value in _objects(tasks):
        id = _id(value, None, findings)
        if id is None:
            continue
        yield _Entry(value=value, id=id, parent=None, siblings=frozenset())
        subtasks = value.get("subtasks")
        children = list(_objects(subtasks)) if isinstance(subtasks, list) else []
        ids = [_id(child, id, findings) for child in children]
        siblings = frozenset(child for child in ids if child is not None)
        for child, child_id in zip(children, ids, strict=True):
            if child_id is not None:
                yield _Entry(value=child, id=child_id, parent=id, siblings=siblings)


def _objects(values: list[Any]) -> Iterator[_Located]:
    return (value for value in values if isinstance(value, _Located))


def _id(value: _Located, parent: str | None, findings: list[Diagnostic]) -> str | None:
    id = _text(value.get("id"))
    if not id:
        findings.append(finding("bad-task-id", value.lines.first, "a task without an id is left out"))
        return None
    return id if parent is None or id.startswith(f"{parent}.") else f"{parent}.{id}"


def _build_draft(entry: _Entry) -> Draft:
    value = entry.value
    title, strategy = _text(value.get("title")), _text(value.get("testStrategy"))
    text = [_text(value.get("description")), _text(value.get("details"))]
    parts = [f"## Task {entry.id}: {title}", *text, f"**Test strategy:** {strategy}" if strategy else ""]
    state = decide_state(None, _text(value.get("status")).replace("-", " "), where="title")
    return Draft(
        id=entry.id,
        title=title,
        lines=value.lines,
        section="\n\n".join(part for part in parts if part),
        depends=_read_dependencies(entry),
        acceptance=(Criterion(text=strategy, done=state.done != ""),) if strategy else (),
        done=state.done,
        left_out=state.left_out,
        parent=entry.parent,
        only_title=not (any(text) or strategy),
        after_parent=True,
    )


def _read_dependencies(entry: _Entry) -> tuple[Reference, ...] | None:
    """A subtask's numbers mean its siblings first."""
    listed = entry.value.get("dependencies")
    if not isinstance(listed, list):
        return None if entry.parent is None else ()
    ids = [id for id in map(_text, listed) if id]
    if entry.parent is not None:
        local = {id: f"{entry.parent}.{id}" for id in ids}
        ids = [local[id] if local[id] in entry.siblings else id for id in ids]
    return _build_references(ids, entry)


def _build_references(ids: list[str], entry: _Entry) -> tuple[Reference, ...]:
    line = entry.value.lines.first
    return tuple(Reference(first=id, last=None, line=line, whole=id) for id in ids)


def _project_name(document: object) -> str:
    if not isinstance(document, dict):
        return ""
    for key in ("meta", "metadata"):
        about = document.get(key)
        if isinstance(about, dict) and (name := _text(about.get("projectName"))):
            return name
    return ""


def _text(value: object) -> str:
    """A string, or a number as a string; anything else is empty.

    NUL and lone surrogates are replaced: file names, processes and the journal cannot hold them.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8").strip()
