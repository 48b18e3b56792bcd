"""A task whose first attempt is not accepted, with the real Claude Code CLI."""

import json
from typing import Any

import pytest
from e2e_kit import AGENT, REPORT, Done, MakeScene, Scene, bash, outcome, plan, script, task

pytestmark = pytest.mark.docker

SCRIPTED = ("-c", "gateway.scripted=model.json")


@pytest.fixture(scope="module")
def fixed(new_module_scene: MakeScene) -> tuple[Scene, Done]:
    """A task that fails its verify command, and is fixed in its second attempt."""
    scene = new_module_scene()
    scene.commit(
        plan__md=plan(task("1", "echo the file holds: $(cat made.txt); grep -qx right made.txt")),
        model__json=script(
            t1=[bash("echo wrong > made.txt"), outcome(), bash("echo right > made.txt"), outcome()]
        ),
    )
    return scene, scene.run(*SCRIPTED)


@pytest.fixture(scope="module")
def never(new_module_scene: MakeScene) -> tuple[Scene, Done, dict[str, Any]]:
    """A task that is claimed to be done three times and never is, and another after it."""
    scene = new_module_scene()
    scene.commit(
        plan__md=plan(task("1", "grep -qx right made.txt"), task("2", "test -s other.txt")),
        model__json=script(
            t1=[bash("echo wrong > made.txt"), outcome()], t2=[bash("echo x > other.txt"), outcome()]
        ),
    )
    done = scene.orchestrator("run", "plan.md", *SCRIPTED)
    return scene, done, scene.status("plan.md")


def test_a_failed_verify_is_fixed_in_the_same_session(fixed: tuple[Scene, Done]) -> None:
    _, done = fixed
    assert done.exit_code == 0, done
    first, second = done.of("attempt_started")
    assert first["session"] == second["session"]
    assert first["container"] != second["container"]
    assert [gate["verdict"] for gate in done.first_rounds] == ["fail", "pass"]


def test_the_agent_knows_that_its_session_is_resumed(fixed: tuple[Scene, Done]) -> None:
    scene, done = fixed
    sessions = set()
    for number in (1, 2):
        stream = scene.transcript(done.run, "1", number)
        sessions |= {json.loads(line).get("session_id") for line in stream.splitlines()}
    assert sessions == {done.of("attempt_started")[0]["session"]}


def test_the_second_prompt_carries_the_evidence_of_the_failure(fixed: tuple[Scene, Done]) -> None:
    scene, done = fixed
    prompt = (scene.attempt(done.run, "1", 2) / "in" / "prompt.md").read_text()
    assert "grep -qx right made.txt" in prompt
    assert "exit code 1" in prompt
    assert "the file holds: wrong" in prompt


def test_only_the_fixed_candidate_lands(fixed: tuple[Scene, Done]) -> None:
    scene, done = fixed
    base = done.events[0]["base"]
    (commit,) = scene.commits("work", since=base)
    fail, passed = done.first_rounds
    assert commit.trailers["Orchestrator-Attempt"] == "2"
    assert commit.trailers["Orchestrator-Evidence"] == passed["evidence"]
    assert scene.evidence(done.run, passed["evidence"])["candidate"] == commit.id
    assert scene.evidence(done.run, fail["evidence"])["candidate"] != commit.id
    assert (scene.folder / "made.txt").read_text() == "right\n"


def test_a_task_that_never_passes_has_three_attempts_and_fails(
    never: tuple[Scene, Done, dict[str, Any]],
) -> None:
    _, done, status = never
    assert done.exit_code == 1, done
    first, second = status["tasks"]
    assert (status["status"], first["status"], first["commit"]) == ("failed", "failed", None)
    assert [attempt["attempt"] for attempt in first["attempts"]] == [1, 2, 3]
    assert len({attempt["session"] for attempt in first["attempts"]}) == 1
    assert (second["status"], second["attempts"]) == ("pending", [])


def test_nothing_of_a_failed_task_lands_and_its_files_stay(
    never: tuple[Scene, Done, dict[str, Any]],
) -> None:
    scene, _, status = never
    assert scene.git("rev-parse", "work") == status["base"]
    assert (scene.folder / "made.txt").read_text() == "wrong\n"
    assert not (scene.folder / "other.txt").exists()


def test_a_failed_task_leaves_no_container(never: tuple[Scene, Done, dict[str, Any]]) -> None:
    assert never[0].containers() == []


def test_progress_names_each_step(
    never: tuple[Scene, Done, dict[str, Any]],
) -> None:
    _, done, _ = never
    for words in ("run echo wrong > made.txt", "attempt 1/3", "grep -qx right made.txt", "fail"):
        assert words in done.out, done.out
    assert all("  base  " in line for line in done.stderr.decode().splitlines()), done.stderr


PERFECT = f"{REPORT}\necho right > made.txt\nreport completed\n"


@pytest.mark.parametrize(
    ("agent", "exit_code", "commits"), [(("--agent", "nop"), 1, 0), (AGENT, 0, 1)], ids=["nop", "perfect"]
)
def test_an_idle_agent_fails_where_a_perfect_agent_passes(
    scene: Scene, agent: tuple[str, ...], exit_code: int, commits: int
) -> None:
    scene.commit(plan__md=plan(task("1", "grep -qx right made.txt")), agent__sh=PERFECT)
    done = scene.run(*agent)
    assert done.exit_code == exit_code, done
    assert done.of("attempt_ended")[0]["status"] == "completed"
    assert len(scene.commits("work", since=done.events[0]["base"])) == commits


def test_a_failed_scenario_fails_the_run_and_keeps_the_commits(scene: Scene) -> None:
    scene.commit(
        plan__md=plan(task("1", "grep -qx right made.txt"), e2e="grep -qx better made.txt"), agent__sh=PERFECT
    )
    done = scene.run(*AGENT)
    assert done.exit_code == 1, done
    assert scene.status(done.run)["e2e"]["status"] == "failed"
    assert len(scene.commits("work", since=done.events[0]["base"])) == 1


def test_one_task_of_a_plan_runs_alone(scene: Scene) -> None:
    text = plan(
        task("1", "grep -qx right made.txt"),
        task("2", "grep -qx right made.txt", depends="nothing"),
        e2e="test -e nothing",
    )
    scene.commit(plan__md=text, agent__sh=PERFECT)
    done = scene.orchestrator("task", "plan.md", "2", "--json", *AGENT)
    assert done.exit_code == 0, done
    (commit,) = scene.commits("work", since=done.events[0]["base"])
    assert commit.trailers["Orchestrator-Task"] == "2"
    status = scene.status(done.run)
    assert [shown["status"] for shown in status["tasks"]] == ["skipped", "completed"]
    assert status["e2e"] is None
