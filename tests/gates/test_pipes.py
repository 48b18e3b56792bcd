"""A reader that stops early does not fail a block; a producer that fails does. Run by the host's bash."""

import subprocess  # noqa: TID251 - the shell is what decides here

import pytest

from orchestrator.gates.pipes import let_readers_stop

PASSES = {
    "grep -q": "seq 1 200000 | grep -q 3",
    "head": "seq 1 200000 | head -1",
    "awk": "seq 1 200000 | awk '{ print; exit }'",
    "sed": "seq 1 200000|sed 1q",
    "three parts": "seq 1 200000 | cat | head -1",
    "with standard error": "seq 1 200000 |& head -1",
    "over two lines": "seq 1 200000 |\n  # the first\n  head -1",
    "a continued line": "seq 1 200000 \\\n  | head -1",
    "before and": "yes | head -1 && echo ok",
    "before or": "yes | grep -q y || exit 1",
    "a condition": "if yes | grep -q y; then exit 0; fi; exit 1",
    "negated": "! yes | head -1 | grep -q z",
    "a substitution": 'x=$(yes | head -1); test "$x" = y',
    "a quoted substitution": 'test "a$(yes "|" | head -1)" = "a|"',
    "backquotes": "x=`yes | head -1`; test $x = y",
    "a function": "first() { yes | head -1; }\nfirst",
    "a function's output": "first() (\n  yes\n)\nfirst | head -1",
    "a subshell": "(yes; echo no) | head -1",
    "a group": "{ yes; } | head -1",
    "a loop of the shell": "while true; do echo y; done | head -1",
    "for": "for x in a b; do yes $x; done | head -1",
    "for of arithmetic": "for ((i = 0; i < 2; i++)); do yes | head -1; done",
    "case": "case a in (x|a) yes | head -1;; *) false | cat;; esac",
    "a here document": "cat <<EOF | head -1\n$(seq 1 20000)\n| it's (\nEOF",
    "two documents": "cat <<'A' - <<-B | grep -q t\none |\nA\n\ttwo (\n\tB\ntrue",
    "a here string": 'cat <<< "a|b" | head -1',
    "an array": "x=(a '|' $(yes | head -1)); yes ${x[@]} | head -1; test ${#x[@]} = 3",
    "redirections": "yes 2>/dev/null 3>&1 | head -1 &>/dev/null; seq 9 >| /dev/null | true & wait $!",
    "a test with patterns": "[[ a =~ ^(a|b)$ && ( a < b || -n x ) ]]; yes | head -1",
    "an extended pattern": "shopt -s extglob\ncase a in @(a|b)) yes | head -1 ;; esac",
    "parameters": "yes ${x:-\"|}\"} | head -1; yes ${x#*\\}} $'it\\'s |' | head -1",
    "arithmetic": "(( (1 | 2) == 3 )); yes $(( 1 | 2 )) | head -1",
    "process substitution": "cat <(yes | head -1)",
    "an assignment before": "X=1 yes | head -1",
    "a comment": "true # it's ( a | comment\nyes | head -1",
    "set +e": "set +e\nfalse | cat\nfalse\ntrue",
    "a tolerated failure": "false | cat || true",
    "statuses": 'set +e\n(exit 3) | yes | head -1 >/dev/null\ntest "${PIPESTATUS[*]}" = "3 0 0"',
    "set -u": "set -u; yes | head -1",
    "time": "time -p yes | head -1",
    "else": "if false; then :; elif false | cat; then :; else yes | head -1; fi",
    "variables stay in their part": "x=1; x=2 | cat; test $x = 1; { false || x=4; echo $x; } | grep -q 4",
    "arguments": 'f() { echo "$1" | head -1; }; test "$(f "a b")" = "a b"',
}
FAILS = {
    "false": ("false | cat", 1),
    "a status of its own": ("(exit 7) | tail -5", 7),
    "in the middle": ("true | (exit 5) | cat", 5),
    "the last": ("yes | (exit 6)", 6),
    "the last ends by a signal": ("yes | bash -c 'kill -PIPE $$'", 141),
    "no pipe": ("bash -c 'kill -PIPE $$'; true", 141),
    "stops at the first failure": ("{ false; echo on; } | cat", 1),
    "in a function": ("f() { false | cat; true; }; f", 1),
    "in a subshell": ("(false | cat; true)", 1),
    "a condition": ("if false | cat; then exit 0; fi; exit 9", 9),
    "a failing reader": ("seq 1 200000 | grep -q x", 1),
    "another signal": ("bash -c 'kill -TERM $$' | cat", 143),
    "a negated success": ("! false | cat && exit 4", 4),
    "in a substitution": ("x=$(false | cat)", 1),
    "a program that is not there": ("no-such-program | cat", 127),
    "a syntax error": ("true | | cat", 2),
    "not understood": ("coproc x { false | cat; }; wait $!", 1),
}


def _run(block: str) -> int:
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", let_readers_stop(block)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    return done.returncode


@pytest.mark.parametrize("block", PASSES.values(), ids=PASSES)
def test_a_reader_that_stops_early_does_not_fail_a_block(block: str) -> None:
    assert _run(block) == 0


@pytest.mark.parametrize(("block", "exit_code"), FAILS.values(), ids=FAILS)
def test_a_failure_still_fails_a_block(block: str, exit_code: int) -> None:
    assert _run(block) == exit_code


@pytest.mark.parametrize(
    "block",
    [
        "pytest -q",
        "a || b && c; d & e",
        "echo 'a | b' \"c | d\" \\| e # | f",
        "cat <<E\na | b\nE",
        "echo ${x/|/a} $((1|2)) >| file",
        "echo `a \\| b`",
        "",
        "\n",
        "if then | x",
        "echo 'open | x",
        'echo "$(a | b',
        "case x in a | b) c",
        "(" * 500 + "a | b",
    ],
)
def test_a_block_without_a_pipe_or_that_is_not_understood_stays(block: str) -> None:
    assert let_readers_stop(block) == block


def test_lines_keep_their_numbers() -> None:
    block = "a |\n b\nc | d"
    assert let_readers_stop(block).count("\n") == block.count("\n")
