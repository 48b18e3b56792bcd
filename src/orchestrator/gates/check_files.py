"""The check files of a repository: those that judge the work, by their paths. Pure.

A test is run on code. To see whether it also fails without the work, the tests of a candidate are laid over
the code from before the work. For that, each path has to be either a check file or code. Names decide, as the
conventions of each language have them: what a file contains was written by the agent whose work is judged.

**Not separable.** Some tests are in the same file as the code that they test: unit tests of Rust, doctests of
Python. Such a file is code as a whole, so these tests are not on the old code when the others are.
"""

import posixpath
import re
import shlex
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Literal

CheckFileClass = Literal["test", "configuration", "script"]
"""test: a test, or data and snapshots of tests; configuration: it configures a test runner, or shadows one;
script: its own exit code is the result of a command."""

_TEST_FOLDERS = frozenset(
    (
        *("test", "tests", "__tests__", "spec", "specs", "testdata", "test-data", "test_data"),
        *("__snapshots__", "__fixtures__", "__mocks__", "cypress", "e2e"),
    )
)
_TEST_NAMES = (
    *("test_*.py", "*_test.py", "tests.py", "test.py", "test_*.pyi"),
    *("*_test.go", "*.test.*", "*.spec.*", "test.js", "test.mjs", "test.cjs", "test.ts"),
    *("*_spec.rb", "*_test.rb", "test_*.rb"),
    *("*Test.java", "*Tests.java", "*IT.java", "*Test.kt", "*Tests.kt", "*Spec.kt", "*Spec.groovy"),
    *("*Test.scala", "*Spec.scala", "*Suite.scala", "*Test.php", "*Test.cs", "*Tests.cs", "*Tests.swift"),
    *("*_test.exs", "*_test.dart", "*_test.cc", "*_test.cpp", "*_unittest.cc", "*_test.c", "test_*.c"),
    *("*.bats", "*_test.sh", "test_*.sh", "*.feature", "*.t"),
    *("*.snap", "*.ambr", "*.approved.*", "*.golden"),
)
_CONFIGURATION_NAMES = (
    *("conftest.py", "pytest.ini", ".pytest.ini", "sitecustomize.py", "usercustomize.py", "*.pth"),
    *("jest.config.*", "vitest.config.*", "vitest.workspace.*", ".mocharc*", "karma.conf.*", "ava.config.*"),
    *("playwright.config.*", "cypress.config.*", "phpunit.xml", "phpunit.xml.dist", ".rspec"),
)
_CONFIGURATION_PATHS = (".cargo/config.toml", ".cargo/config", ".config/nextest.toml")
_SHADOWS = frozenset(("pytest", "_pytest", "unittest", "pluggy", "doctest", "coverage"))
"""Modules that Python would import from the root of the repository instead of the installed ones."""
_BYTE_CODE = re.compile(r"(?:^|/)__pycache__/|\.py[co]$")


def classify(path: str, scripts: Collection[str] = ()) -> CheckFileClass | None:
    """The class of a check file; None if the path is code, data of the product, or a manifest.

    `scripts` are the paths that `find_scripts` has found in the commands.
    """
    name = posixpath.basename(path)
    if is_byte_code(path):
        return None
    if path in scripts:
        return "script"
    if _configures_runner(path, name):
        return "configuration"
    return "test" if _is_test(path, name) else None


def is_byte_code(path: str) -> bool:
    """Whether it is compiled Python. It may not fit its source, so it must not decide a verdict."""
    return _BYTE_CODE.search(path) is not None


def is_inseparable(path: str) -> bool:
    """Whether the language has its unit tests in the files of the code."""
    return path.endswith(".rs") and not _is_test(path, posixpath.basename(path))


def _configures_runner(path: str, name: str) -> bool:
    if any(fnmatchcase(name, pattern) for pattern in _CONFIGURATION_NAMES):
        return True
    if any(path == each or path.endswith(f"/{each}") for each in _CONFIGURATION_PATHS):
        return True
    root, _, below = path.partition("/")
    return root in _SHADOWS if below else root.endswith(".py") and root.removesuffix(".py") in _SHADOWS


def _is_test(path: str, name: str) -> bool:
    folders = path.split("/")[:-1]
    if name.endswith(".rs"):
        # Below `src` a file of tests is a module of the code: without the line that declares it, it does not
        # exist for the compiler.
        return "tests" in folders and "src" not in folders
    if not _TEST_FOLDERS.isdisjoint(folders):
        return True
    return any(fnmatchcase(name, pattern) for pattern in _TEST_NAMES)


_INTERPRETERS = re.compile(
    r"(?:ba|da|z|k)?sh|python(?:\d(?:\.\d+)?)?|node|deno|bun|ruby|perl|php|lua|Rscript|tsx|ts-node"
)
_TAKES_NO_FILE = re.compile(r"-|-[a-z]*[cm]|--eval|--test|--print")
"""Options after which an interpreter runs a module, a text or its input."""
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_PREFIXES = frozenset(("exec", "time", "env", "nice"))
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*", re.MULTILINE)
_OPERATORS = "();<>|&\n"


def find_scripts(commands: Iterable[str]) -> frozenset[str]:
    """The files whose own exit code is the result of one of these commands: `check.sh` of `bash check.sh`.

    In `python greet.py | grep Hello` it is `grep` that judges, so `greet.py` is not one of them. Nor is a
    file of a command with several parts: one part may make what another one judges.
    """
    return frozenset(found for command in commands if (found := _find_script(command)) is not None)


def _find_script(command: str) -> str | None:
    folder, words = _read_only_command(command)
    words = _drop_prefixes(words)
    if not words:
        return None
    program, rest = posixpath.basename(words[0]), words[1:]
    if _INTERPRETERS.fullmatch(program):
        found = _find_argument(program, rest)
    else:
        found = words[0] if "/" in words[0] else None
    if found is None or found.startswith("/") or "$" in found:
        return None
    path = posixpath.normpath(posixpath.join(folder, found))
    return None if path.startswith("..") else path


_MAKEFILES = ("Makefile", "makefile", "GNUmakefile")
_NODE_MANAGERS = frozenset(("npm", "pnpm", "yarn", "bun"))
_ENTRY_POINTS = ("pyproject.toml", "setup.cfg", "setup.py", "package.json", "Cargo.toml")


def find_called(command: str) -> frozenset[str]:
    """The files in which a command's only program may be defined: its recipe, script, module or entry point.

    Programs that come with a system or a test runner are defined elsewhere.
    """
    folder, words = _read_only_command(command)
    words = _drop_prefixes(words)
    if not words:
        return frozenset()
    program, rest = posixpath.basename(words[0]), words[1:]
    if program == "make":
        names: Iterable[str] = _MAKEFILES
    elif program in _NODE_MANAGERS:
        names = ("package.json",)
    elif (script := _find_script(command)) is not None:
        return frozenset((script,))
    elif _INTERPRETERS.fullmatch(program):
        module = next((word for flag, word in pairwise(rest) if flag == "-m"), "")
        path = module.replace(".", "/")
        names = (
            [f"{root}{path}{end}" for root in ("", "src/") for end in (".py", "/__main__.py")] if path else ()
        )
    elif program in _KNOWN_PROGRAMS:
        names = ()
    else:
        names = _ENTRY_POINTS
    return frozenset(posixpath.normpath(posixpath.join(folder, name)) for name in names)


_KNOWN_PROGRAMS = frozenset(
    (
        *(
            "pytest",
            "py.test",
            "tox",
            "nox",
            "go",
            "cargo",
            "mvn",
            "gradle",
            "dotnet",
            "rspec",
            "jest",
            "vitest",
        ),
        *(
            "test",
            "[",
            "true",
            "false",
            "grep",
            "diff",
            "cmp",
            "ls",
            "cat",
            "find",
            "stat",
            "jq",
            "git",
            "curl",
        ),
        *("mypy", "ruff", "flake8", "pylint", "eslint", "tsc", "unittest"),
    )
)


def _drop_prefixes(words: list[str]) -> list[str]:
    """The words without what only starts another program."""
    while words and (words[0] in _PREFIXES or _ASSIGNMENT.match(words[0])):
        words = words[1:]
    if words[:1] == ["timeout"]:
        return [word for word in words[1:] if not word.startswith("-")][1:]
    return words[2:] if words[:1] in (["uv"], ["poetry"], ["pdm"]) and words[1:2] == ["run"] else words


def _find_argument(program: str, words: list[str]) -> str | None:
    """The script among an interpreter's arguments."""
    if program in ("deno", "bun") and words[:1] == ["run"]:
        words = words[1:]
    for word in words:
        if not word.startswith("-"):
            return word
        if _TAKES_NO_FILE.fullmatch(word) or (word == "-e" and not program.endswith("sh")):
            return None
    return None


def _read_only_command(block: str) -> tuple[str, list[str]]:
    """The words of a block's only command, and the folder of a `cd` before it; no words if it has more."""
    text = _COMMENT.sub("", block.replace("\\\n", " "))
    lexer = shlex.shlex(text, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t", "", True
    try:
        words = list(lexer)
    except ValueError:
        return "", []
    parts: list[list[str]] = [[]]
    for word in words:
        if word in ("&", "|", "||", "|&") or set(word) <= set("()"):
            return "", []
        if word == "&&" or set(word) <= set(";\n"):
            parts.append([])
        else:
            parts[-1].append(word)
    parts = [part for part in parts if part and part[0] != "set"]
    folder = parts.pop(0)[1] if len(parts) == 2 and parts[0][0] == "cd" and len(parts[0]) == 2 else ""
    if len(parts) != 1:
        return "", []
    (found,) = parts
    end = next((at for at, word in enumerate(found) if set(word) <= set("<>&")), len(found))
    return folder, found[:end]


def leave_out_named(scripts: Collection[str], text: str) -> frozenset[str]:
    """The scripts that a task does not name in its text or its files: what it asks for is its work."""
    return frozenset(path for path in scripts if not _is_named(path, text))


def _is_named(path: str, text: str) -> bool:
    name = posixpath.basename(path)
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text) is not None
