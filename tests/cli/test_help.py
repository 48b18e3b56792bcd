"""The description of the command line: complete, and what it shows can be typed."""

import re
import shlex
import subprocess  # noqa: TID251 - makes a repository for the command
from pathlib import Path

import pytest
from cli_kit import orchestrate
from docs_kit import ROOT

from orchestrator import __version__, shipped_files
from orchestrator.cli.descriptions import ALWAYS, DESCRIPTIONS, Example
from orchestrator.cli.main import COMMANDS, main, parser
from orchestrator.cli.reference import commands

NAMES = [name for name, _, _ in commands()]
EXAMPLES = [example for found in DESCRIPTIONS.values() for example in found.examples]
CODES = {0, 1, 2, 3, 4, 70, 130}
NEEDS_NO_RUN = ("init --yes", "plan", "status", "history", "trust", "help", "completion")
"""The beginnings of examples that need neither a run nor an engine."""
PLAN = """\
# A plan

## Task 1.2: Greet

**Type:** CODING

Say hello.

**Acceptance Criteria:**

- [ ] hello.txt says hello

**Verify:**

```bash
test -f hello.txt
```
"""


def words_of(example: Example) -> list[str]:
    program, *words = shlex.split(example.command)
    assert program == "orchestrator"
    return words


def runs_without_a_run(example: Example) -> bool:
    words = words_of(example)
    needs_run = words[:1] == ["status"] and len(words) > 1
    return " ".join(words).startswith(NEEDS_NO_RUN) and not needs_run


WITHOUT_A_RUN = [example for example in EXAMPLES if runs_without_a_run(example)]


def test_every_command_is_described_and_nothing_else() -> None:
    assert list(DESCRIPTIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_description_is_a_paragraph_two_examples_and_exit_codes(name: str) -> None:
    found = DESCRIPTIONS[name]
    assert 80 <= len(found.text) <= 320 and found.text.endswith(".")
    assert len(found.examples) == 2
    assert all(words_of(example)[: len(name.split())] == name.split() for example in found.examples)
    assert ALWAYS.keys() | found.exits.keys() <= CODES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.command)
def test_every_example_parses(example: Example) -> None:
    words = words_of(example)
    arguments = parser(words[0]).parse_args(words)
    assert callable(arguments.handler)


@pytest.mark.parametrize("example", WITHOUT_A_RUN, ids=lambda example: example.command)
def test_an_example_that_needs_no_run_is_run(example: Example, tmp_path: Path) -> None:
    (tmp_path / "plan.md").write_text(PLAN)
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    done = orchestrate(*words_of(example), cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("name", NAMES)
def test_help_has_all_of_it_by_both_ways(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for words in (["help", *name.split()], [*name.split(), "--help"]):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    text = " ".join(printed[0].split())
    found = DESCRIPTIONS[name]
    assert " ".join(found.text.split()) in text
    assert all(example.command in text and example.does in text for example in found.examples)
    assert all(re.search(rf"^  {code}  ", printed[0], re.MULTILINE) for code in {**ALWAYS, **found.exits})


@pytest.mark.parametrize("words", [[], ["--"], ["help"], ["--help"]], ids=" ".join)
def test_without_a_command_the_help_lists_the_commands(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(words)
    except SystemExit as left:
        code = left.code
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert all(re.search(rf"^    {name} ", printed.out, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize(("group", "names"), [("plan", ("show", "check", "new")), ("image", ("build",))])
def test_a_group_alone_prints_its_help_with_its_commands(
    group: str, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([group]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n    {name} " in printed for name in names)
    with pytest.raises(SystemExit) as left:
        main(["help", group])
    assert left.value.code == 0 and capsys.readouterr().out == printed


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([option])
    known = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True)
    commit = f" ({known.stdout.decode().strip()})" if known.returncode == 0 else ""
    assert (left.value.code, capsys.readouterr().out) == (0, f"orchestrator {__version__}{commit}\n")


def test_the_commit_of_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped_files, "PACKAGE", tmp_path / "src" / "orchestrator")
    assert shipped_files.find_commit() is None

    def git(*words: str) -> str:
        by = ("-c", "user.name=T", "-c", "user.email=t@localhost")
        done = subprocess.run(["git", *by, *words], cwd=tmp_path, capture_output=True, check=True)
        return done.stdout.decode().strip()

    git("init", "--quiet")
    assert shipped_files.find_commit() is None, "there is no commit yet"
    git("commit", "--quiet", "--allow-empty", "-m", "x")
    commit = git("rev-parse", "HEAD")[:12]
    assert shipped_files.find_commit() == commit
    git("worktree", "add", "--quiet", "-b", "other", "other")
    monkeypatch.setattr(shipped_files, "PACKAGE", tmp_path / "other" / "src" / "orchestrator")
    assert shipped_files.find_commit() == commit
    monkeypatch.setattr(shipped_files, "PACKAGE", tmp_path / "src" / "orchestrator")
    git("pack-refs", "--all")
    assert shipped_files.find_commit() == commit
    git("checkout", "--quiet", "--detach")
    assert shipped_files.find_commit() == commit


@pytest.mark.parametrize("columns", ["1", "20", "80", "no number"])
def test_help_fits_a_narrow_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        main(["help", "run"])
    assert "orchestrator run plan.md" in capsys.readouterr().out
