"""The doors a command leaves by: done, an error with a next step, our bug, a reader who has gone."""

import argparse
import os
import re
import subprocess  # noqa: TID251 - a reader that goes away, as `head` does
import sys
from pathlib import Path

import pytest
from cli_kit import environment, orchestrate, remember
from run_histories import READY, attempt, begun, run_ended

from orchestrator.cli.main import COMMANDS, main, print_error
from orchestrator.cli.reference import commands
from orchestrator.errors import UsageError

HEAVY = (
    "asyncio",
    "aiohttp",
    "aiodocker",
    "markdown_it",
    "orchestrator.gateway",
    "orchestrator.subprocesses",
)
SLOW = ("dataclasses", "inspect", "typing_extensions", "shutil", "json", "logging", "importlib.resources")
"""Each costs a tenth of `python -c pass` or more (benchmarks/start_up.py)."""


def test_our_own_bug_is_70_with_a_report_to_paste(tmp_path: Path) -> None:
    remember((begun(), attempt(task="no such task")))  # cannot follow: only a bug writes it
    done = orchestrate("status", "trial-1", cwd=tmp_path)
    text = done.stderr.decode()
    assert done.returncode == 70 and done.stdout == b""
    assert "bug in the orchestrator" in text and "Traceback" in text
    found = re.search(r"The report is in (.*)", text)
    assert found is not None
    report = Path(found[1]).read_text()
    assert "Traceback" in report and "Python" in report
    assert Path(found[1]).stat().st_mode & 0o077 == 0 or Path(found[1]).parent.stat().st_mode & 0o077 == 0


def test_a_bug_is_printed_even_if_its_report_cannot_be_stored(tmp_path: Path) -> None:
    folder = remember((begun(), attempt(task="no such task"))).parents[1]
    (folder / "bug-reports").write_text("not a folder")
    done = orchestrate("status", "trial-1", cwd=tmp_path)
    assert done.returncode == 70
    assert "Traceback" in done.stderr.decode() and "could not be stored" in done.stderr.decode()


def test_a_reader_that_has_exited_is_not_an_error(tmp_path: Path) -> None:
    remember((*READY, run_ended("failed")))
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as unread:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli.main", "status", "trial-1", "--json"],
            cwd=tmp_path,
            env=environment(),
            stdout=unread,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_broken_pipe_of_our_own_is_a_bug(capfd: pytest.CaptureFixture[str]) -> None:
    code = (
        "import argparse, sys\n"
        "from orchestrator.cli import main as module\n"
        "def broken(arguments): raise BrokenPipeError('a socket of the run')\n"
        "def parser(command):\n"
        "    found = argparse.ArgumentParser(); found.set_defaults(handler=broken); return found\n"
        "module.parser = parser\n"
        "sys.exit(module.main([]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, timeout=60)
    assert done.returncode == 70 and b"a socket of the run" in done.stderr


LONG = UsageError("\n".join(str(n) for n in range(100)), where="plan.md", hint="Do this.")


def test_an_error_is_at_most_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(LONG)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10 and lines[0] == "error: plan.md: 0"
    assert lines[-1] == "Do this."


def test_an_error_is_printed_whole_when_it_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(UsageError("what", where="where", hint="next"))
    assert capsys.readouterr() == ("", "error: where: what\nnext\n")


def test_an_error_is_text_for_every_input(tmp_path: Path) -> None:
    done = orchestrate("status", "\x1b[31mred\x07", cwd=tmp_path)
    assert done.returncode == 2
    assert b"\x1b" not in done.stderr and b"\x07" not in done.stderr and b"no run red" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "usage: orchestrator run "),
        (("task", "plan.md"), "the following arguments are required: ID"),
        (("nonsense",), "'nonsense' is not a command of orchestrator"),
        (("statsu",), "Did you mean 'status'?"),
        (("plan", "chekc"), "Did you mean 'check'?"),
        (("status", "--nonsense"), "orchestrator status: '--nonsense' is not an option"),
        (("logs", "r", "--taks", "1"), "Did you mean '--task'?"),
        (("logs", "--flolow=1"), "Did you mean '--follow'?"),
        (("run", "--bse"), "Did you mean '--base'?"),
        (("--helpp",), "Did you mean '--help'?"),
        (("status", "a", "b"), "orchestrator status: unexpected argument 'b'"),
        (("help", "statsu"), "Did you mean 'status'?"),
        (("help", "plan", "chek"), "Did you mean 'check'?"),
        (("stat\x1b[31mus",), "Did you mean 'status'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_command_line_is_2_and_names_the_nearest_word(
    words: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(words)
    except SystemExit as error:
        code = error.code
    printed = capfd.readouterr()
    assert (code, printed.out) == (2, "")
    assert said in printed.err
    assert "\x1b" not in printed.err
    assert len(printed.err.splitlines()) <= 8


def test_an_error_gives_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "nope"]) == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_shows_unknown_characters_as_escapes(tmp_path: Path, encoding: str) -> None:
    remember((*READY, run_ended("failed")))
    done = orchestrate("status", "trial-1", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and rb"\u2500" in done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_json_is_utf_8_on_every_terminal(tmp_path: Path, encoding: str) -> None:
    remember((begun("é", "世"),))
    done = orchestrate("status", "trial-1", "--json", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and "Title of 世" in done.stdout.decode("utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_in_its_module_and_in_the_help(command: str, tmp_path: Path) -> None:
    alone = orchestrate(command, "--help", cwd=tmp_path)
    assert alone.returncode == 0 and f"usage: orchestrator {command} ".encode() in alone.stdout
    everything = orchestrate("--help", cwd=tmp_path).stdout.decode()
    assert re.search(rf"^ +{command} ", everything, re.MULTILINE) and "None" not in everything
    first_words = COMMANDS[command][1].split()[1:4]
    assert " ".join(first_words) in " ".join(alone.stdout.decode().split()), "it says what the command does"


@pytest.mark.parametrize(
    ("words", "spared"),
    [
        (("--help",), (*HEAVY, *SLOW, "msgspec")),
        (("--version",), (*HEAVY, *SLOW, "msgspec")),
        (("run", "--help"), HEAVY),
        (("status",), (*HEAVY, *SLOW)),
        (("status", "trial-1"), (*HEAVY, *SLOW)),
    ],
    ids=lambda value: " ".join(value[:2]),
)
def test_commands_that_only_read_import_nothing_heavy(
    tmp_path: Path, words: tuple[str, ...], spared: tuple[str, ...]
) -> None:
    remember(READY)
    code = (
        "import sys\n"
        "from orchestrator.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {spared!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment(), capture_output=True, timeout=60
    )
    assert done.stdout != b""
    assert done.stderr.endswith(b"[]\n")


def test_a_closed_standard_output_is_not_a_bug(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "orchestrator.cli.main", "status"]
    code = "import os, sys; os.close(1); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=environment(),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("command", [pytest.param(each[2], id=each[0]) for each in commands()])
def test_every_argument_has_a_help_text_of_one_short_sentence(command: argparse.ArgumentParser) -> None:
    for action in command._actions:
        assert action.help, action
        assert len(str(action.help)) <= 120, action.help
