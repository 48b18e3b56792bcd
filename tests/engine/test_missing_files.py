"""A gate that fails says which ignored files of the folder it did not have."""

from pathlib import Path

import pytest
from msgspec import structs

from orchestrator.engine.gating import describe_missing_files
from orchestrator.run.facts import GateEnded, Notice
from orchestrator.testing.agent import ScriptedAgent, works
from orchestrator.testing.processes import Process
from orchestrator.testing.project import TemporaryProject

GATE = GateEnded(
    gate="verify-1",
    command="make check",
    verdict="fail",
    exit_code=1,
    evidence="e1",
    seconds=1.0,
    candidate="",
    tail="",
    output_sha256="",
    image="",
)


def said(ignored: list[str], *, command: str = "make check", tail: str = "") -> str | None:
    return describe_missing_files([structs.replace(GATE, command=command, tail=tail)], ignored)


@pytest.mark.parametrize(
    ("ignored", "command", "tail", "shown", "hidden"),
    [
        ([".env", "notes/"], ". ./.env && make", "", "ignored .env and 1 more", "notes"),
        (
            ["config/local.yml", "a.txt"],
            "make",
            "cannot open 'config/local.yml'",
            "config/local.yml",
            "a.txt",
        ),
        (["dist/", "zzz"], "make", "ls: dist: No such file", "dist/", "zzz"),
        ([".env", "zzz"], "make", "KeyError: DB", "ignored .env and 1 more", "zzz"),
        ([".venv/", "node_modules/", ".env"], "make", "", "ignored .env.", "node_modules"),
    ],
    ids=["in the command", "in the output", "a folder", "not named", "beside scratch"],
)
def test_files_that_are_named_come_first(
    ignored: list[str], command: str, tail: str, shown: str, hidden: str
) -> None:
    text = said(ignored, command=command, tail=tail)
    assert text is not None and shown in text and hidden not in text
    assert "docs/project-needs.md" in text


@pytest.mark.parametrize("ignored", [[], [".venv/"], ["a/__pycache__/", "x.pyc"]])
def test_nothing_is_said_without_such_files(ignored: list[str]) -> None:
    assert said(ignored) is None


def test_a_run_says_it_and_the_next_prompt_too(tmp_path: Path) -> None:
    tries: list[int] = []

    def needs_env(process: Process) -> int:
        tries.append(1)
        process.print("sh: .env: No such file or directory")
        return 0 if len(tries) > 2 else 1

    agent = ScriptedAgent({("1", n): works("1") for n in (1, 2)})
    with TemporaryProject(tmp_path, agent=agent, gates={"check 1": needs_env}) as project:
        (project.folder / ".gitignore").write_text(".env\n")
        project.git("add", "-A")
        project.git("commit", "-q", "-m", "ignore")
        (project.folder / ".env").write_text("DB=local\n")
        report = project.run()
        texts = [fact.body.text for fact in project.facts(report.run) if isinstance(fact.body, Notice)]
        assert any("ignored .env." in text for text in texts), (report.status, texts)
        assert "without ignored files of your folder" in project.agent.attempts[1].prompt
