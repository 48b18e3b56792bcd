"""Finds the line of each key of a TOML file, which the parser of the standard library does not report."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

KeyPath = tuple[str | int, ...]

# Strings and comments come first, so that newlines and brackets in them are not taken for structure. A string
# in triple quotes may end with up to two quotes of its own before the closing three.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{}\n]",
    re.DOTALL,
)

_DEEPEST = 4


class _Statement(NamedTuple):
    line: int
    text: str


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """The lines, counted from 1, of all tables and keys of a valid TOML document.

    A path consists of keys and, in arrays of tables, of indices: `("mounts", 1, "target")`.
    """
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for statement in _statements(text):
        content = tomllib.loads(statement.text)
        if statement.text.lstrip().startswith("["):
            table = _table_path(content, counts)
            lines.setdefault(table, statement.line)
        else:
            for path in _paths(content):
                lines.setdefault(table + path, statement.line)
    return lines


def _statements(text: str) -> Iterator[_Statement]:
    start, first, line, depth = 0, 1, 1, 0
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word == "\n" and depth == 0:
            yield _Statement(line=first, text=text[start : token.end()])
            start, first = token.end(), line + 1
        depth += (word in "[{") - (word in "]}")
        line += word.count("\n")
    yield _Statement(line=first, text=text[start:])


def _table_path(content: dict[str, Any], counts: dict[KeyPath, int]) -> KeyPath:
    """The path of the table that `[a.b]` or `[[a.b]]` opens; `content` is that line, parsed alone."""
    path: KeyPath = ()
    value: Any = content
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        path += (key,)
    if isinstance(value, list):
        counts[path] = counts.get(path, -1) + 1
        path += (counts[path],)
    return path


def _paths(content: dict[str, Any], depth: int = 0) -> Iterator[KeyPath]:
    """The keys in a statement, down to a fixed depth: a hostile file could exhaust the stack."""
    for key, value in content.items():
        yield (key,)
        if isinstance(value, dict) and depth < _DEEPEST:
            for path in _paths(value, depth + 1):
                yield (key, *path)
