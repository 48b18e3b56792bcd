"""The example from plan to verified commits: the real Claude Code CLI, real containers, a scripted model."""

import json

import pytest
from greeting_run import GreetingRun

pytestmark = pytest.mark.docker

BRANCH = "feature/greeting"
TASKS = ["1.1", "1.2", "1.3"]


def test_all_three_tasks_pass_at_the_first_attempt(greeting: GreetingRun) -> None:
    assert greeting.done.exit_code == 0, greeting.done
    started = [(event["task"], event["attempt"]) for event in greeting.done.of("attempt_started")]
    assert started == [(task, 1) for task in TASKS]
    assert {event["status"] for event in greeting.done.of("attempt_ended")} == {"completed"}
    assert greeting.status["status"] == "completed"


def test_one_commit_for_each_task_names_run_attempt_and_evidence(greeting: GreetingRun) -> None:
    commits = greeting.scene.commits(BRANCH, since=greeting.base)
    tasks = {task["task"]: task for task in greeting.status["tasks"]}
    assert [commit.trailers["Orchestrator-Task"] for commit in commits] == TASKS
    for commit in commits:
        task = tasks[commit.trailers["Orchestrator-Task"]]
        assert task["commit"] == commit.id
        assert commit.trailers["Orchestrator-Run"] == greeting.done.run
        assert commit.trailers["Orchestrator-Attempt"] == "1"
        assert commit.trailers["Orchestrator-Evidence"].split(",") == task["evidence"]


def test_the_trees_that_land_are_those_that_the_gates_checked(greeting: GreetingRun) -> None:
    scene = greeting.scene
    commits = scene.commits(BRANCH, since=greeting.base)
    for commit in commits:
        for name in commit.trailers["Orchestrator-Evidence"].split(","):
            evidence = scene.evidence(greeting.done.run, name)
            assert evidence["verdict"] == "pass"
            assert evidence["candidate"] == commit.id
            assert scene.git("rev-parse", f"{evidence['candidate']}^{{tree}}") == commit.tree
            assert evidence["image"].startswith("sha256:")
    assert [c.tree for c in commits[-1:]] == [scene.git("rev-parse", "HEAD^{tree}")]


def test_the_folder_is_left_clean_on_the_branch(greeting: GreetingRun) -> None:
    scene = greeting.scene
    assert scene.git("symbolic-ref", "HEAD") == f"refs/heads/{BRANCH}"
    assert scene.git("rev-parse", "main") == greeting.base
    assert scene.git("status", "--porcelain") == ""
    assert scene.git("fsck", "--strict", "--no-dangling") == ""
    assert "Hello" in (scene.folder / "greet.py").read_text()


def test_the_base_was_checked_before_the_first_agent(greeting: GreetingRun) -> None:
    kinds = [event["kind"] for event in greeting.done.events]
    assert kinds.index("base_run_ended") < kinds.index("attempt_started")
    assert {event["before"] for event in greeting.done.of("base_checked")} == {"red"}


def test_the_scenario_ran_on_the_last_commit(greeting: GreetingRun) -> None:
    e2e = greeting.status["e2e"]
    assert e2e["status"] == "passed"
    last = greeting.scene.git("rev-parse", BRANCH)
    assert {greeting.scene.evidence(greeting.done.run, name)["candidate"] for name in e2e["evidence"]} == {
        last
    }


def test_each_task_leaves_its_section_of_the_hand_off_to_the_next(greeting: GreetingRun) -> None:
    scene, run = greeting.scene, greeting.done.run
    note = "greet() takes any text and strips it."
    for commit, sections in zip(scene.commits(BRANCH, since=greeting.base), (1, 2, 3), strict=True):
        document = scene.git("show", f"{commit.id}:HANDOFF_plan.md")
        assert [task in document for task in TASKS] == [number < sections for number in range(3)]
        assert note in document
    assert note not in (scene.attempt(run, "1.1", 1) / "in" / "prompt.md").read_text()
    assert note in (scene.attempt(run, "1.2", 1) / "in" / "prompt.md").read_text()


def test_whole_transcripts_are_stored(greeting: GreetingRun) -> None:
    for task in TASKS:
        stored = greeting.scene.transcript(greeting.done.run, task, 1)
        lines = [json.loads(line) for line in stored.splitlines()]
        kinds = [line["type"] for line in lines if line.get("subtype") != "session_state_changed"]
        assert (kinds[0], kinds[-1]) == ("system", "result")
        raw = greeting.scene.orchestrator("logs", greeting.done.run, "--task", task, "--raw")
        assert raw.stdout == stored


def test_no_container_stays_behind(greeting: GreetingRun) -> None:
    assert greeting.scene.containers() == []


def test_nothing_changed_its_owner(greeting: GreetingRun) -> None:
    after = greeting.scene.owners()
    assert {path: after[path] for path in greeting.owners_before if path in after} == {
        path: owner for path, owner in greeting.owners_before.items() if path in after
    }
    assert set(after.values()) == {greeting.scene.owner}


def test_a_plan_that_is_done_is_not_done_again(greeting: GreetingRun) -> None:
    before = greeting.scene.picture()
    again = greeting.scene.run("-c", "gateway.scripted=model.json")
    assert again.exit_code == 0, again
    assert greeting.scene.picture() == before
    assert greeting.scene.git("rev-list", "--count", f"{greeting.base}..{BRANCH}") == "3"
