"""Rules that no linter checks: short functions, and values that must be passed down, not looked up."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import orchestrator

ROOT = Path(orchestrator.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
LONGEST = 60

SURROUNDINGS = frozenset(
    {"os.environ", "os.environb", "os.getenv", "os.getcwd", "os.path.expanduser", "os.path.abspath"}
    | {"pathlib.Path.cwd", "pathlib.Path.home"}
)
"""The environment and the current folder: a command gets them from its caller."""
MAY_LOOK_UP = {
    "cli": "the command line is where the program meets its caller",
    "gateway/__main__.py": "a process of its own, which its starter gave an environment",
    "subprocesses.py": "a child inherits what this process has, without programs of the repository",
    "testing/project.py": "it gives the commands of a test an environment with nothing but git",
    "containers/engine.py": "the published CodingAgentContainer finds the engine as `docker` does",
}

TIME = frozenset(
    {"time.time", "time.monotonic", "time.sleep", "asyncio.sleep", "datetime.datetime.now"}
    | {"datetime.datetime.utcnow", "datetime.date.today"}
)
"""Time comes from a Clock, so that a test can be at any time and waits for nothing."""
MAY_READ_TIME = {
    "clock.py": "the clock of this machine",
    "journal/journal.py": "another process holds the lock, and it runs in real time",
    "project/locks.py": "another process holds the lock, and it runs in real time",
    "cli/live_view.py": "it draws for a real terminal, whose user waits in real time",
    "testing/clock.py": "the fake clock lets the event loop take a turn",
    "testing/sandbox.py": "a real process is waited for",
}


def functions(source: Path) -> Iterator[tuple[str, int]]:
    """Name and lines of each function that is not marked as one flat table."""
    text = source.read_text("utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            head = lines[node.lineno - 1 : node.body[0].lineno]
            if not any("noqa: C901" in line for line in head):
                yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_function_is_longer_than_a_screen() -> None:
    found = ((str(source), *function) for source in SOURCES for function in functions(source))
    assert not [function for function in found if function[-1] > LONGEST]


def used_names(text: str) -> set[str]:
    """The full names of everything imported that a module uses, also under other names."""
    tree = ast.parse(text)
    full: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            full |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {_full_name(node, full) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)}


def _full_name(node: ast.expr, full: Mapping[str, str]) -> str:
    match node:
        case ast.Name(id=name):
            return full.get(name, name)
        case ast.Attribute(value=value, attr=attr):
            return f"{_full_name(value, full)}.{attr}"
        case _:
            return ""


@cache
def names_by_module() -> Mapping[str, set[str]]:
    return {str(each.relative_to(ROOT)): used_names(each.read_text("utf-8")) for each in SOURCES}


def modules_that_use(names: frozenset[str]) -> set[str]:
    return {module for module, used in names_by_module().items() if used & names}


def test_a_name_is_known_under_every_alias() -> None:
    text = (
        "import os as o\nfrom os import environ as e\nfrom pathlib import Path as P\no.environ\ne\nP.cwd()\n"
    )
    assert {"os.environ", "pathlib.Path.cwd"} <= used_names(text)
    assert "os.environ" in used_names("from os import environ\nenviron['HOME']")


def test_only_the_command_line_looks_up_the_environment_and_the_current_folder() -> None:
    found = modules_that_use(SURROUNDINGS)
    assert not {name for name in found if name not in MAY_LOOK_UP and not name.startswith("cli/")}
    assert MAY_LOOK_UP.keys() - {"cli"} <= found, "an exception that nothing needs"


def test_time_comes_from_a_clock() -> None:
    found = modules_that_use(TIME)
    assert not found - MAY_READ_TIME.keys()
    assert MAY_READ_TIME.keys() <= found, "an exception that nothing needs"
