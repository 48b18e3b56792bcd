"""What no linter checks: short functions, and an environment that is passed down and never looked up."""

import ast
from collections.abc import Iterator
from pathlib import Path

import orchestrator

ROOT = Path(orchestrator.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
LONGEST = 60

# Processes that nobody starts with an environment of ours, and what is not a setting.
MAY_LOOK_UP = {
    "cli": "the command line is where the program meets its caller",
    "gateway/__main__.py": "a process of its own, which its starter gave an environment",
    "subprocesses.py": "a child inherits what this process has, without programs of the repository",
    "testing/project.py": "it gives the commands of a test an environment with nothing but git",
    "containers/engine.py": "the published CodingAgentContainer finds the engine as `docker` does",
}
LOOK_UPS = {("os", "environ"), ("os", "getenv"), ("os", "getcwd"), ("Path", "cwd"), ("Path", "home")}


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


def looks_up(source: Path) -> list[str]:
    return [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in LOOK_UPS
    ]


def test_only_the_command_line_looks_up_the_environment_and_the_current_folder() -> None:
    found = {str(source.relative_to(ROOT)) for source in SOURCES if looks_up(source)}
    elsewhere = {name for name in found if name not in MAY_LOOK_UP and not name.startswith("cli/")}
    assert not elsewhere
    assert MAY_LOOK_UP.keys() - {"cli"} <= found, "an exception that nobody needs"
