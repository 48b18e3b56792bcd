"""Independent tasks after one that failed or asked: its files are set aside, and `resume` lays them back."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.commands.answer import AnswerRequest, answer
from orchestrator.run.facts import (
    AttemptStarted,
    Body,
    LayBackStarted,
    Notice,
    SetAsideStarted,
    TreeLaidBack,
)
from orchestrator.run.report import RunReport
from orchestrator.testing.agent import ScriptedAgent, Step, reports, works, writes
from orchestrator.testing.processes import Process
from orchestrator.testing.project import PLAN, TemporaryProject, plan_of
from orchestrator.workspace import restoration

Attempts = dict[tuple[str, int], tuple[Step, ...]]
MakeProject = Callable[[Attempts], TemporaryProject]
ONE = "[limits]\nattempts = 1\n"
FAILS = (writes("a.txt", "mine\n"), writes("new.txt", "new\n"), reports("failed", summary="It is hard."))
ASKS = (writes("a.txt", "mine\n"), reports("needs_human", question="Tea?"))


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[MakeProject]:
    with ExitStack() as stack:

        def make(attempts: Attempts) -> TemporaryProject:
            plan = plan_of(("1", "2", "3")).replace("**Type:**", "**Depends on:** nothing\n**Type:**")
            agent = ScriptedAgent(attempts)
            project = TemporaryProject(tmp_path, agent=agent, tasks=("1", "2", "3"), plan=plan, settings=ONE)
            stack.enter_context(project)
            for name in ("a.txt", "b.txt"):
                (project.folder / name).write_text("first\n")
            (project.folder / ".gitignore").write_text("*.ignored\n")
            project.git("add", "-A")
            project.git("commit", "-q", "-m", "files")
            return project

        yield make


def statuses(report: RunReport) -> list[str]:
    ends = [task.finished for task in report.state.tasks.values()]
    return ["open" if end is None else end.status for end in ends]


def bodies(project: TemporaryProject, run: str, *kinds: type) -> list[Body]:
    return [fact.body for fact in project.facts(run) if isinstance(fact.body, kinds)]


def notices(project: TemporaryProject, run: str) -> str:
    return "\n".join(body.text for body in bodies(project, run, Notice) if isinstance(body, Notice))


def read(project: TemporaryProject, name: str) -> str | None:
    path = project.folder / name
    return path.read_text() if path.exists() else None


def test_other_tasks_find_the_branch_and_resume_finds_what_was_left(make_project: MakeProject) -> None:
    found: list[tuple[str | None, ...]] = []

    def look(process: Process) -> None:
        names = ("a.txt", "new.txt", "kept.ignored")
        paths = [process.path(name) for name in names]
        found.append(tuple(path.read_text() if path.exists() else None for path in paths))

    left = (writes("kept.ignored", "scratch"), *FAILS)
    project = make_project({("1", 1): left, ("2", 1): (look, *works("2")), ("1", 2): (look, *works("1"))})
    report = project.run()
    assert (report.exit_code, statuses(report)) == (1, ["failed", "completed", "completed"])
    assert found == [("first\n", None, "scratch")]
    assert (read(project, "a.txt"), read(project, "new.txt")) == ("first\n", None)
    (started,) = bodies(project, report.run, SetAsideStarted)
    assert isinstance(started, SetAsideStarted)
    assert f"git show {started.commit}" in notices(project, report.run)
    assert project.git("show", f"{started.commit}:new.txt") == "new"
    assert project.git("status", "--porcelain") == ""

    resumed = project.resume()
    assert (resumed.exit_code, statuses(resumed)) == (0, ["completed"] * 3)
    assert found[1:] == [("mine\n", "new\n", "scratch")]
    assert project.git("show", "work:a.txt") == "mine"
    assert project.git("show", "work:task-2.txt") != ""
    first, _, _, second = bodies(project, report.run, AttemptStarted)
    assert isinstance(first, AttemptStarted) and isinstance(second, AttemptStarted)
    assert second.session == first.session


def test_without_another_task_the_folder_stays(make_project: MakeProject) -> None:
    project = make_project({("3", 1): FAILS})
    report = project.run()
    assert statuses(report) == ["completed", "completed", "failed"]
    assert (read(project, "a.txt"), read(project, "new.txt")) == ("mine\n", "new\n")
    assert bodies(project, report.run, SetAsideStarted) == []


@pytest.mark.parametrize("by", ["a landed task", "the user"])
def test_what_clashes_is_not_laid_back_and_is_shown_to_the_agent(make_project: MakeProject, by: str) -> None:
    changes = (writes("a.txt", "other\n"),) if by == "a landed task" else ()
    project = make_project({("1", 1): FAILS, ("2", 1): (*changes, *works("2"))})
    report = project.run()
    assert statuses(report) == ["failed", "completed", "completed"]
    if by == "the user":
        (project.folder / "a.txt").write_text("other\n")
    resumed = project.resume()
    assert statuses(resumed) == ["completed"] * 3
    (back,) = bodies(project, report.run, TreeLaidBack)
    assert isinstance(back, TreeLaidBack)
    assert (back.commit, back.clashes) == (None, ("a.txt",))
    assert "stay set aside" in notices(project, report.run)
    prompt = project.agent.attempts[-1].prompt
    assert "were set aside for another task" in prompt and "+mine" in prompt and "+++ b/new.txt" in prompt
    assert project.git("show", "work:a.txt") == "other"
    assert read(project, "new.txt") is None


def test_edits_of_the_user_are_committed_as_the_users(make_project: MakeProject) -> None:
    project = make_project({("1", 1): FAILS})
    project.run()
    (project.folder / "b.txt").write_text("the user's\n")
    assert project.resume().exit_code == 0
    assert "Changes by hand" in project.git("log", "--format=%s", "-1", "work", "--", "b.txt")
    assert project.git("log", "--format=%s", "-1", "work", "--", "a.txt").startswith("1:")


def test_a_question_blocks_only_its_task_and_an_answer_meanwhile_is_taken_in(
    make_project: MakeProject,
) -> None:
    async def reply(_process: Process) -> None:
        await answer(project.host, AnswerRequest(run=PLAN, choice="Yes."))

    project = make_project({("1", 1): ASKS, ("2", 1): (reply, *works("2"))})
    report = project.run()
    assert (report.exit_code, statuses(report)) == (0, ["completed"] * 3)
    starts = [fact for fact in project.facts(report.run) if isinstance(fact.body, AttemptStarted)]
    assert [fact.task for fact in starts] == ["1", "2", "1", "3"]
    assert isinstance(starts[0].body, AttemptStarted) and isinstance(starts[2].body, AttemptStarted)
    assert starts[2].body.session == starts[0].body.session
    assert project.git("show", "work:a.txt") == "mine"


def test_a_question_that_stays_open_and_a_failure(make_project: MakeProject) -> None:
    project = make_project({("1", 1): ASKS, ("2", 1): FAILS})
    report = project.run()
    assert (report.exit_code, statuses(report)) == (3, ["open", "failed", "completed"])
    assert report.reason is not None
    assert "task 1 asks: Tea?" in report.reason and "task 2: It is hard." in report.reason
    project.do(answer(project.host, AnswerRequest(run=report.run, choice="Yes.")))
    resumed = project.resume()
    assert (resumed.exit_code, statuses(resumed)) == (0, ["completed"] * 3)


def test_two_tasks_that_fail_in_the_same_way_end_the_run(make_project: MakeProject) -> None:
    project = make_project({("1", 1): FAILS, ("2", 1): FAILS})
    report = project.run()
    assert (report.exit_code, statuses(report)) == (1, ["failed", "failed", "open"])
    assert report.reason is not None and "failed in the same way" in report.reason


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("after", [SetAsideStarted, LayBackStarted])
@pytest.mark.parametrize("files", [0, 1], ids=["before its files", "after its first file"])
def test_a_kill_at_each_step(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch, after: type, files: int
) -> None:
    project = make_project({("1", 1): FAILS})
    apply, applied = restoration._apply, [0]
    has_begun = [False]

    async def apply_or_die(*given: object) -> None:
        if has_begun[0] and applied[0] == files:
            raise Killed
        applied[0] += has_begun[0]
        await apply(*given)  # type: ignore[arg-type]

    def begin(fact: object) -> None:
        has_begun[0] = has_begun[0] or isinstance(getattr(fact, "body", None), after)

    monkeypatch.setattr(restoration, "_apply", apply_or_die)
    run = ""
    for command in (project.run, project.resume, project.resume):
        try:
            run = command(listeners=(begin,)).run
        except BaseException:
            monkeypatch.setattr(restoration, "_apply", apply)
    report = project.resume() if run == "" else None
    assert report is None or report.exit_code == 0
    assert project.git("show", "work:a.txt") == "mine"
    assert project.git("show", "work:new.txt") == "new"
    assert project.git("status", "--porcelain") == ""
    project.git("fsck", "--strict")
