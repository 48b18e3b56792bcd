"""The first line of a task's commit, by `commit.subject`."""

from pathlib import Path

import pytest

from orchestrator.config.kinds import Invalid, subject_template
from orchestrator.engine.candidate import word_subject
from orchestrator.testing.project import TemporaryProject


@pytest.mark.parametrize(
    ("template", "title", "subject"),
    [
        ("{task}: {title}", "Add {task}", "1.2: Add {task}"),
        ("feat({task}): {title}", "x" * 80, f"feat(1.2): {'x' * 60}…"),
        ("{title}", "#12 fix it", "12 fix it"),
        ("{title}", "###", "1.2"),
    ],
)
def test_words_of_the_task_are_put_in_once(template: str, title: str, subject: str) -> None:
    assert word_subject(template, "1.2", title) == subject


@pytest.mark.parametrize("written", ["", "always", "{task} {id}", "# {task}", "{task}\n", 5])
def test_templates_that_make_no_subject_are_refused(written: object) -> None:
    with pytest.raises(Invalid):
        subject_template().parse(written)


def test_a_run_uses_it(tmp_path: Path) -> None:
    with TemporaryProject(tmp_path, settings='[commit]\nsubject = "feat: {title} [{task}]"\n') as project:
        assert project.run().exit_code == 0
        assert project.git("log", "-1", "--format=%s").strip() == "feat: Write task-1.txt [1]"
