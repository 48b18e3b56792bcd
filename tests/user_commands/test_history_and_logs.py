"""`history`, and `logs --follow` of a run in progress and of one that has ended."""

import json

import pytest
from e2e_kit import AGENT, REPORT, MakeScene, Scene, plan, task, waiting_for

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def two_runs(new_module_scene: MakeScene) -> tuple[Scene, list[str]]:
    """A repository with two runs over, oldest first."""
    scene = new_module_scene()
    agent = f"{REPORT}\necho one; echo two >&2; printf three\necho x >> made.txt\nreport completed\n"
    scene.commit(
        agent__sh=agent,
        plan__md=plan(task("1", "test -s made.txt")),
        **{"Größe.md": plan(task("1", "test -s made.txt")).replace("A trial", "Größer & größer")},
    )
    runs = []
    for name in ("plan.md", "Größe.md"):
        done = scene.run(*AGENT, plan=name)
        assert done.exit_code == 0, done
        runs.append(done.run)
    return scene, runs


def listed(scene: Scene, *words: str) -> list[dict[str, object]]:
    done = scene.orchestrator("history", "--json", *words)
    assert done.exit_code == 0, done
    answer = json.loads(done.stdout)
    assert answer["schema"] == 1
    runs: list[dict[str, object]] = answer["runs"]
    return runs


def test_history_is_status_without_tasks_newest_first(two_runs: tuple[Scene, list[str]]) -> None:
    scene, runs = two_runs
    found = listed(scene)
    assert [run["run"] for run in found] == runs[::-1]
    for run in found:
        whole = scene.status(str(run["run"]))
        del whole["tasks"]
        assert run == whole


@pytest.mark.parametrize(
    ("words", "which"),
    [
        (("--limit", "1"), [1]),
        (("--limit", "9"), [1, 0]),
        (("--name", "PLAN.md"), [0]),
        (("--name", "GRÖSSER &"), [1]),
        (("--name", "nowhere"), []),
        (("--name", ".md", "--limit", "1"), [1]),
    ],
    ids=["one", "more than there are", "plan", "title", "none", "both"],
)
def test_history_of_some_runs(
    two_runs: tuple[Scene, list[str]], words: tuple[str, ...], which: list[int]
) -> None:
    scene, runs = two_runs
    assert [run["run"] for run in listed(scene, *words)] == [runs[index] for index in which]


def test_history_as_a_table(two_runs: tuple[Scene, list[str]]) -> None:
    scene, runs = two_runs
    printed = scene.orchestrator("history", "--name", "grösser").out
    assert runs[1] in printed and runs[0] not in printed
    assert scene.orchestrator("history", "--name", "nowhere").out == "no runs with nowhere\n"


@pytest.mark.parametrize("limit", ["0", "-1", "many", ""])
def test_history_with_a_bad_limit(scene: Scene, limit: str) -> None:
    done = scene.orchestrator("history", f"--limit={limit}")
    assert (done.exit_code, done.stdout) == (2, b"") and "--limit" in done.err, done


def test_history_without_runs(scene: Scene) -> None:
    assert listed(scene) == []
    assert scene.orchestrator("history").out == "no runs\n"
    assert not scene.state.exists()


def test_following_a_run_that_has_ended_prints_it_and_ends(two_runs: tuple[Scene, list[str]]) -> None:
    scene, runs = two_runs
    for form in ((), ("--json",), ("--task", "1")):
        whole = scene.orchestrator("logs", runs[0], *form)
        assert "three" in whole.out, whole
        assert scene.orchestrator("logs", runs[0], "--follow", *form) == whole


@pytest.mark.parametrize("other", [("--raw",), ("--evidence", "x")], ids=["raw", "evidence"])
def test_follow_prints_agent_output_only(scene: Scene, other: tuple[str, ...]) -> None:
    done = scene.orchestrator("logs", "x", "--follow", *other)
    assert done.exit_code == 2 and "not allowed with" in done.err, done


def test_following_a_living_run_through_its_attempts(scene: Scene) -> None:
    agent = "\n".join(
        (
            REPORT,
            "echo $ORCHESTRATOR_TASK/$ORCHESTRATOR_ATTEMPT begins; printf half",
            waiting_for("/workspace/go"),
            "echo whole; echo x >> made.txt; report completed; printf last",
        )
    )
    scene.commit(plan__md=plan(task("1", "test -s made.txt"), task("2", "test -s made.txt")), agent__sh=agent)
    scene.write(".git/info/exclude", "go\n")
    with scene.start("run", "plan.md", "--json", *AGENT) as running:
        run = running.until("attempt_started")["run"]
        with scene.start("logs", run, "--follow", "--json") as following:
            assert following.next_line()["text"] == "1/1 begins"
            scene.write("go", "")
            seen = [following.next_line()["text"] for _ in range(5)]
            assert seen == ["halfwhole", "last", "2/1 begins", "halfwhole", "last"]
            assert following.finish().exit_code == 0
        assert running.finish().exit_code == 0


def test_an_unknown_attempt(two_runs: tuple[Scene, list[str]]) -> None:
    scene, runs = two_runs
    done = scene.orchestrator("logs", runs[0], "--attempt", "7")
    assert (done.exit_code, done.stdout) == (2, b""), done


def test_outside_a_repository_there_is_no_history(two_runs: tuple[Scene, list[str]]) -> None:
    scene, _ = two_runs
    assert json.loads(scene.orchestrator("history", "--json", cwd=scene.area).stdout)["runs"] == []


def test_a_wrong_setting_is_an_error_even_when_the_plan_is_done(two_runs: tuple[Scene, list[str]]) -> None:
    scene, _ = two_runs
    done = scene.run(*AGENT, "-c", "limits.atempts=2")
    assert (done.exit_code, done.stdout) == (2, b""), done
