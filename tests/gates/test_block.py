"""When a shell block fails: run by the real bash."""

import asyncio
import os

import pytest

from orchestrator import subprocesses
from orchestrator.gates.pipes import let_readers_stop

LONG = "seq 1 1000000"


def run(block: str) -> tuple[int, str]:
    argv = ("bash", "-eo", "pipefail", "-c", let_readers_stop(block))
    done = asyncio.run(subprocesses.run(argv, timeout=20, env={"PATH": os.environ["PATH"]}, cwd=None))
    code = done.exit_code
    return code if code >= 0 else 128 - code, done.stdout.decode()


@pytest.mark.parametrize(
    "block",
    [
        f"{LONG} | head -1",
        f"{LONG} | grep -q 5",
        f"{LONG} | awk '{{exit}}'",
        f"{LONG} | sed -n '1p;q'",
        f"{LONG} | head -1 | cat",
        "yes | head -1",
        f"{LONG} | while read line; do break; done",
        f"set -euo pipefail\n{LONG} | head -1",
        f"set -o pipefail; {LONG} | grep -q 5",
        f"({LONG} | head -1)",
        f"check() {{ {LONG} | head -1; }}\ncheck",
        f"for each in 1 2; do {LONG} | head -1; done",
        f'first=$({LONG} | head -1)\ntest "$first" = 1',
        f"if {LONG} | grep -q 5; then exit 0; else exit 9; fi",
        f"{LONG} | grep -q 5 || exit 7",
        f"{LONG} | grep -q 5 && echo found",
        f"trap 'echo end' EXIT\n{LONG} | head -1",
        "false || true",
        "check() { return 0; }\ncheck",
        f"check() {{ {LONG} | grep -q 5; }}\ncheck && echo found",
        "(trap 'echo end' EXIT; true)",
        "set +e\n(false | cat)\nexit 0",
        "set +e\nfalse | cat\nexit 0",
        "false | false || true",
        "cat <<EOF\ntext\nEOF",
        "true # a comment",
        "true \\",
        "set -u\necho fine",
        'test $# = 0 && test -z "${1-}"',
        "true | cat\ntest ${PIPESTATUS[0]} = 0",
    ],
)
def test_a_block_that_passes(block: str) -> None:
    code, output = run(block)
    assert (code, "exited with" in output) == (0, False)


@pytest.mark.parametrize(
    ("block", "code"),
    [
        ("false | cat", 1),
        ("false | cat\necho more", 1),
        ("(exit 3) | tail -5", 3),
        ("sh -c 'echo a; exit 4' | grep -q a", 4),
        ("true | false | cat", 1),
        ("{ false; echo a; } | cat", 1),
        ("grep x /no-such-file | wc -l", 2),
        ("false | cat && echo more", 1),
        ("false | cat # a comment", 1),
        ("false | cat \\", 1),
        ("(false | cat)", 1),
        ("(false | cat; echo more)", 1),
        ("check() { false | cat; echo more; }\ncheck", 1),
        ("check() { false | cat; }\ncheck", 1),
        ("check() { false | cat; }\ncheck\necho more", 1),
        ("check() { return 3; }\ncheck", 3),
        ("check() { false; }\ncheck", 1),
        ("if true; then false | cat; fi", 1),
        ("case a in a) false | cat ;; esac", 1),
        ("{ false | cat; }", 1),
        ("(true; false | cat)\necho more", 1),
        ("for each in 1 2; do false | cat; done", 1),
        ("while read line; do false | cat; done < <(seq 2)", 1),
        ("set -euo pipefail\nfalse | cat", 1),
        ("trap 'echo end' EXIT\nfalse | cat", 1),
        (f"{LONG} | grep -q nothing", 1),
        (f"! {LONG} | grep -q 5; exit $?", 1),
        ("false", 1),
        ("false\ntrue", 1),
        ("test -f /no-such-file && echo more", 1),
        ("exit 5", 5),
        ("if", 2),
        ("sh -c 'kill -PIPE $$'", 141),
        ("no-such-program-at-all", 127),
    ],
)
def test_a_block_that_fails_with_the_code_of_its_command(block: str, code: int) -> None:
    assert run(block)[0] == code
