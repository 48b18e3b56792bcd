"""Files of a commit that its task does not name in the plan."""

import pytest

from orchestrator.plan.declared_files import list_undeclared

NAMED = [
    ("src/greet.py", "src/greet.py"),
    ("src/", "src/deep/greet.py"),
    ("./src", "src/greet.py"),
    ("/src/greet.py", "src/greet.py"),
    ("greet.py", "src/greet.py"),
    ("app/greet.py", "src/app/greet.py"),
    ("src/*.py", "src/greet.py"),
    ("**/*.py", "src/greet.py"),
    ("src/{greet,bye}.py", "src/bye.py"),
    ("gree?.py", "greet.py"),
    (".", "anything"),
    ("a+b.py", "a+b.py"),
]
OTHERS = [
    ("src/greet.py", "src/greet.pyc"),
    ("greet.py", "regreet.py"),
    ("src", "mysrc/greet.py"),
    ("a.b", "aXb"),
    ("src/*.py", "src/greet.js"),
    ("a+b.py", "aab.py"),
    ("[a].py", "a.py"),
]


@pytest.mark.parametrize(("entry", "path"), NAMED)
def test_an_entry_stands_for_its_file_its_folder_or_its_pattern(entry: str, path: str) -> None:
    assert list_undeclared([path], [entry]) == ()


@pytest.mark.parametrize(("entry", "path"), OTHERS)
def test_it_stands_for_nothing_else(entry: str, path: str) -> None:
    assert list_undeclared([path], [entry]) == (path,)


def test_a_task_without_files_names_none() -> None:
    assert list_undeclared(["a", "b"], []) == ()
    assert list_undeclared(["a", "b", "c"], ["b"]) == ("a", "c")
