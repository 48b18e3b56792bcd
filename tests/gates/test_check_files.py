"""The paths that judge the work: tests, configuration of runners, and scripts that decide an exit code."""

import pytest

from orchestrator.gates.check_files import classify, find_scripts, is_inseparable, leave_out_named

TESTS = (
    *("test_a.py", "src/pkg/test_a.py", "pkg/a_test.py", "tests/data.json", "tests/__init__.py"),
    *("cmd/a_test.go", "cmd/testdata/in.txt", "web/a.test.ts", "web/a.spec.jsx", "web/__tests__/a.js"),
    *("spec/a_spec.rb", "lib/a_spec.rb", "src/test/java/ATest.java", "tests/api.rs", "crates/x/tests/a.rs"),
    *("web/__snapshots__/a.js.snap", "a.bats", "features/login.feature", "a_test.exs", "t/basic.t"),
)
CONFIGURATION = (
    *("conftest.py", "tests/conftest.py", "pytest.ini", "sitecustomize.py", "lib/a.pth"),
    *(
        "jest.config.js",
        "web/vitest.config.ts",
        ".mocharc.json",
        ".cargo/config.toml",
        "sub/.cargo/config.toml",
    ),
    *("pytest.py", "unittest/__init__.py", "_pytest/main.py"),
)
CODE = (
    *("src/a.py", "main.go", "pyproject.toml", "package.json", "Makefile", "Cargo.toml", "README.md"),
    *("src/tests.rs", "src/tests/a.rs", "src/lib.rs", "latest.py", "contest.py", "src/testing.py"),
    *("tests/__pycache__/test_a.cpython-311.pyc", "conftest.pyc", "src/pytest.py", "check.sh"),
)


@pytest.mark.parametrize("path", TESTS)
def test_tests_are_known_by_the_convention_of_their_language(path: str) -> None:
    assert classify(path) == "test"


@pytest.mark.parametrize("path", CONFIGURATION)
def test_what_configures_or_shadows_a_runner_is_known(path: str) -> None:
    assert classify(path) == "configuration"


@pytest.mark.parametrize("path", CODE)
def test_everything_else_is_code(path: str) -> None:
    assert classify(path) is None


def test_unit_tests_of_rust_cannot_be_separated_from_their_code() -> None:
    assert is_inseparable("src/lib.rs")
    assert not is_inseparable("tests/api.rs")
    assert not is_inseparable("src/a.py")


@pytest.mark.parametrize(
    ("command", "script"),
    [
        ("bash check.sh", "check.sh"),
        ("./check.sh -v", "check.sh"),
        ("bash -ex tools/check.sh > log 2>&1", "tools/check.sh"),
        ("set -e\n# first\ncd sub && python3 -u check.py --all", "sub/check.py"),
        ("FOO=1 timeout 5 node scripts/check.js", "scripts/check.js"),
        ("uv run python check.py", "check.py"),
        ("deno run check.ts", "check.ts"),
    ],
)
def test_a_script_that_alone_decides_the_exit_code_judges(command: str, script: str) -> None:
    assert find_scripts([command]) == {script}
    assert classify(script, find_scripts([command])) == "script"


@pytest.mark.parametrize(
    "command",
    [
        *("python greet.py | grep Hello", "python3 -m pytest", "bash -c 'a b'", "pytest tests", "make test"),
        *("python make.py && ./check.sh", "check.sh", "/bin/true", "bash ../check.sh", 'bash "$HOME/x.sh"'),
        *("bash a.sh || true", "(bash a.sh)", "bash a.sh &", "echo 'open", "", "node --test", "bash < a.sh"),
    ],
)
def test_no_script_judges_where_something_else_can(command: str) -> None:
    assert find_scripts([command]) == frozenset()


def test_a_script_that_the_task_asks_for_is_its_work() -> None:
    scripts = {"tools/greet.py", "check.sh"}
    assert leave_out_named(scripts, "Write `tools/greet.py`.") == {"check.sh"}
    assert leave_out_named(scripts, "Write greet.py, not recheck.sh.") == {"check.sh"}
