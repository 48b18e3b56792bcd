"""A function's name says what the function does, or which thing or answer it returns."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator

ROOT = Path(orchestrator.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))

PARTICIPLE = re.compile(
    r"\w+(ed|en|ing)|begun|brought|found|gone|held|kept|left|lost|made|met|sent|shown|worn"
)
VERBS = re.compile("embed|exceed|feed|flatten|listen|need|open|proceed|reopen|shorten")
NOUNS = re.compile(
    "billing|findings?|heading|keyring|landing|mapping|meaning|nothing|settings?|signing|strings?|token"
)
ADVERBS = re.compile(
    "after|already|another|around|before|beside|due|during|each|how|just|now|once|outside|several|since|still"
    "|then|unless|until|very|what|when|where|while|why|within"
)
"""With one of these at the front a name says when or how, but not what."""

ALLOWED = {
    "now": "the time of a Clock, as in datetime",
    "readable": "the name by which Python's io asks for it",
}
"""Names that keep such a word, with the reason."""

ASKS = re.compile(r"(is|are|was|has|have|can|may|must|should)_\w+|[a-z]+s(_\w+)?")
"""A question of its own, or about its argument: `holds(path)`, `closes(opener)`."""
DOES = frozenset({"add", "ask", "check", "fail", "kill", "read", "remove", "take", "try"})
"""Verbs of functions that do something and return whether they have done it."""


def _is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("property" in ast.unparse(each) for each in function.decorator_list)


def _returns_bool(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return isinstance(function.returns, ast.Name) and function.returns.id == "bool"


def faults(text: str) -> Iterator[str]:
    """The functions whose name has to be opened to be understood, each with the reason.

    A property, and a function that returns what its name says, may be named by a noun.
    """
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_property(node):
            continue
        name = node.name.strip("_")
        first = name.split("_")[0]
        if name in ALLOWED:
            continue
        if ADVERBS.fullmatch(first):
            yield f"{node.name}: start with a verb instead of `{first}`"
        elif PARTICIPLE.fullmatch(first) and not VERBS.fullmatch(first) and not NOUNS.fullmatch(first):
            yield f"{node.name}: a verb and a noun say who does it; `{first}` does not"
        elif _returns_bool(node) and not ASKS.fullmatch(name) and first not in DOES:
            yield f"{node.name}: a predicate reads as a question"


def test_names_are_understood_without_opening_the_function() -> None:
    found = [f"{path}: {fault}" for path in SOURCES for fault in faults(path.read_text("utf-8"))]
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(
    "line",
    [
        "def _made(): ...",
        "def carried_out(): ...",
        "async def running_attempts(): ...",
        "def before_the_work(): ...",
        "def _until_ended(): ...",
        "def printable(text) -> bool: ...",
        "class A:\n    def session_exists(self) -> bool: ...",
    ],
)
def test_a_name_that_hides_its_function_is_found(line: str) -> None:
    assert len(list(faults(line))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "def feed(): ...",
        "def open_folder(): ...",
        "def findings(): ...",
        "def has_session() -> bool: ...",
        "def closes(opener) -> bool: ...",
        "class A:\n    @property\n    def finished(self): ...",
    ],
)
def test_other_names_are_not_found(line: str) -> None:
    assert not list(faults(line))
