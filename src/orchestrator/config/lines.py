"""On which line of a TOML file a key stands, which the standard library's parser does not tell."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

KeyPath = tuple[str | int, ...]

# Whatever may hold a newline or a bracket that does not count comes first; a closing triple quote may
# have up to two more before it.
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
    """One-based lines of all tables and keys of a document that is known to be valid TOML.

    A path is made of keys and, in arrays of tables, of indices: `("mounts", 1, "target")`.
    """
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for statement in _statements(text):
        content = tomllib.loads(statement.text)
        if statement.text.lstrip().startswith("["):
            table = _header(content, counts)
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


def _header(content: dict[str, Any], counts: dict[KeyPath, int]) -> KeyPath:
    """The path of the table that `[a.b]` or `[[a.b]]` opens, given that header parsed alone."""
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
    """Keys within a statement; a stranger's file may nest them deeper than calls may."""
    for key, value in content.items():
        yield (key,)
        if isinstance(value, dict) and depth < _DEEPEST:
            for path in _paths(value, depth + 1):
                yield (key, *path)
