"""`--no-input`: how to answer a question is printed at a terminal only, and not with this option."""

import argparse
import io

import pytest

from orchestrator.cli.run_command import print_outcome
from orchestrator.run.report import RunReport
from orchestrator.testing.agent import ScriptedAgent, reports
from orchestrator.testing.project import TemporaryProject


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    agent = ScriptedAgent({("1", 1): (reports("needs_human", question="Which?"),)})
    with TemporaryProject(tmp_path_factory.mktemp("project"), agent=agent) as project:
        return project.run()


@pytest.mark.parametrize(
    ("stdin", "no_input", "printed"),
    [(Terminal(), False, True), (Terminal(), True, False), (io.StringIO(), False, False)],
    ids=["at a terminal", "with --no-input", "no terminal"],
)
def test_how_to_answer_is_printed(
    waiting: RunReport,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stdin: io.StringIO,
    no_input: bool,
    printed: bool,
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    assert print_outcome(waiting, argparse.Namespace(json=False, no_input=no_input)) == 3
    captured = capsys.readouterr()
    assert (f"To answer: orchestrator resume {waiting.run} -g TEXT\n" == captured.err) == printed
    assert "question q1 of task 1:\n        Which?\n" in captured.out
