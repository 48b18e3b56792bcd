"""Runs that are stopped in order or killed, and resumed: nothing is lost, counted or done twice."""

import random
import signal
import subprocess  # noqa: TID251 - a pipe between the command and another program
import time

import pytest
from e2e_kit import (
    AGENT,
    REPORT,
    Done,
    Living,
    MakeScene,
    Scene,
    bash,
    docker,
    outcome,
    plan,
    script,
    task,
    wait_until_runs,
    waiting_for,
)

pytestmark = pytest.mark.docker

SCRIPTED = ("-c", "gateway.scripted=model.json", "-c", "limits.attempts=1")
HANGS = waiting_for("/workspace/go")


def claude_scene(new_scene: MakeScene) -> Scene:
    """The agent writes, then hangs in a tool; resumed, it writes more and reports."""
    scene = new_scene()
    steps = [bash("echo one > made.txt"), bash(HANGS), bash("echo two >> made.txt"), outcome()]
    scene.commit(
        plan__md=plan(task("1", "grep -x one made.txt", "grep -x two made.txt")), model__json=script(t1=steps)
    )
    return scene


def start_and_hang(scene: Scene) -> tuple[Living, str]:
    """A run whose agent hangs in its second tool call, and its session."""
    command = scene.start("run", "plan.md", "--json", *SCRIPTED)
    started = command.until("attempt_started")
    wait_until_runs(started["container"], HANGS)
    return command, started["session"]


def check_resumed(scene: Scene, resumed: Done, session: str) -> None:
    """The second attempt continued the session of the first, which did not count."""
    assert resumed.exit_code == 0, resumed
    (started,) = resumed.of("attempt_started")
    assert (started["attempt"], started["session"]) == (2, session)
    (shown,) = scene.status(resumed.run)["tasks"]
    assert [attempt["status"] for attempt in shown["attempts"]] == ["interrupted", "completed"]
    (commit,) = scene.commits("work", since=scene.status(resumed.run)["base"])
    assert commit.trailers["Orchestrator-Attempt"] == "2"
    assert (scene.folder / "made.txt").read_text() == "one\ntwo\n"
    assert scene.containers() == []


def saved_tree(scene: Scene, run: str) -> str:
    """The tree of the first attempt when it was interrupted."""
    (repository,) = (scene.state / "repositories").iterdir()
    return scene.git(
        f"--git-dir={repository}",
        f"--work-tree={scene.folder}",
        *("show", f"refs/ktrdr/trees/{run}/1/1:made.txt"),
    )


def test_ctrl_c_stops_in_order_and_resume_continues_the_session(new_scene: MakeScene) -> None:
    scene = claude_scene(new_scene)
    command, session = start_and_hang(scene)
    with command:
        command.send(signal.SIGINT)
        stopped = command.finish()
    check_stopped(scene, stopped)
    assert saved_tree(scene, stopped.run) == "one"
    check_resumed(scene, scene.orchestrator("resume", "--json"), session)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_other_signals_stop_in_order_too(scene: Scene, number: signal.Signals) -> None:
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh="exec tail -f /dev/null\n")
    with scene.start("run", "plan.md", "--json", *AGENT) as command:
        wait_until_runs(command.until("attempt_started")["container"], "tail -f /dev/null")
        command.send(number)
        assert "has up to 20 s to shut down" in command.until("notice")["text"]
        check_stopped(scene, command.finish())


def test_a_second_signal_kills_an_agent_that_does_not_listen(scene: Scene) -> None:
    deaf = "trap '' INT TERM; echo one > made.txt; sleep 600 & while :; do wait; done\n"
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh=deaf)
    with scene.start("run", "plan.md", "--json", *AGENT) as command:
        wait_until_runs(command.until("attempt_started")["container"], "sleep 600")
        command.send(signal.SIGINT)
        command.until("notice")
        time.sleep(0.5)
        command.send(signal.SIGTERM)
        before = time.monotonic()
        stopped = command.finish()
        assert time.monotonic() - before < 5
    check_stopped(scene, stopped)
    assert saved_tree(scene, stopped.run) == "one"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_before_there_is_a_run(scene: Scene, number: signal.Signals) -> None:
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh="exec tail -f /dev/null\n")
    checking = scene.area / "checking"
    check = f'environment.checks=[{{run="touch {checking}; exec sleep 600"}}]'
    with scene.start("run", "plan.md", "--json", "-c", check, *AGENT) as command:
        command.until_exists(checking)
        command.send(number)
        stopped = command.finish()
    assert (stopped.exit_code, stopped.stdout) == (130, b""), stopped
    assert "interrupted" in stopped.err
    assert scene.containers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_as_soon_as_there_is_a_run(scene: Scene, number: signal.Signals) -> None:
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh="exec tail -f /dev/null\n")
    with scene.start("run", "plan.md", "--json", *AGENT) as command:
        command.until("run_started")
        command.send(number)
        stopped = command.finish()
    assert stopped.exit_code == 130, stopped
    assert (stopped.end["status"], stopped.end["exit_code"]) == ("interrupted", 130)
    assert scene.containers() == []


def check_stopped(scene: Scene, stopped: Done) -> None:
    assert stopped.exit_code == 130, stopped
    assert (stopped.end["status"], stopped.end["exit_code"]) == ("interrupted", 130)
    assert [event["status"] for event in stopped.of("attempt_ended")] == ["interrupted"]
    assert scene.containers() == []
    assert scene.status(stopped.run)["status"] == "interrupted"


def kill_while_it_hangs(scene: Scene) -> tuple[Done, str]:
    """A run that is killed while its agent hangs in a tool, and the agent's session."""
    command, session = start_and_hang(scene)
    with command:
        command.send(signal.SIGKILL)
        killed = command.finish()
    assert killed.exit_code == -signal.SIGKILL
    return killed, session


def test_the_agent_of_a_killed_run_is_adopted(new_scene: MakeScene) -> None:
    """The real CLI, in the same container and session, with a gateway that is killed as well."""
    scene = claude_scene(new_scene)
    killed, session = kill_while_it_hangs(scene)
    (container,) = scene.containers()
    status = scene.status(killed.run)
    assert (status["status"], status["owner"]) == ("interrupted", None)
    scene.kill_gateway()
    with scene.start("run", "plan.md", "--json", *SCRIPTED) as command:
        assert command.until("attempt_adopted")["container"] == container
        scene.write("go", "")
        resumed = command.finish()
    assert resumed.exit_code == 0, resumed
    assert resumed.of("attempt_started") == []
    (shown,) = scene.status(resumed.run)["tasks"]
    assert [(attempt["status"], attempt["session"], attempt["adopted"]) for attempt in shown["attempts"]] == [
        ("completed", session, 1)
    ]
    assert (scene.folder / "made.txt").read_text() == "one\ntwo\n"
    assert scene.containers() == []
    tools = [event["summary"] for event in (*killed.of("agent_tool"), *resumed.of("agent_tool"))]
    assert len(tools) == len(set(tools)) == 3


def test_the_result_of_a_killed_run_is_taken(new_scene: MakeScene) -> None:
    scene = claude_scene(new_scene)
    killed, session = kill_while_it_hangs(scene)
    (container,) = scene.containers()
    scene.write("go", "")
    docker("wait", container)
    resumed = scene.run()
    assert resumed.exit_code == 0, resumed
    (shown,) = scene.status(killed.run)["tasks"]
    (attempt,) = shown["attempts"]
    assert (attempt["status"], attempt["session"], attempt["adopted"]) == ("completed", session, 0)
    assert (scene.folder / "made.txt").read_text() == "one\ntwo\n"
    assert scene.containers() == []


def test_a_living_run_says_who_owns_it(new_scene: MakeScene) -> None:
    scene = new_scene()
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh=HANGS)
    with scene.start("run", "plan.md", "--json", *AGENT, "-c", "limits.attempts=1") as command:
        run = command.until("attempt_started")["run"]
        status = scene.status(run)
        assert (status["status"], status["owner"]["pid"]) == ("running", command.pid)
        assert set(status["owner"]) == {"pid", "host", "since"}
        assert [shown["status"] for shown in status["tasks"]] == ["running"]
        scene.write("go", "")
        assert command.finish().exit_code == 1


TASKS = ["1", "2", "3"]
APPENDS = f"""{REPORT}
echo "$ORCHESTRATOR_TASK" >> "made-$ORCHESTRATOR_TASK.txt"
report completed
"""
# Events up to the end of the base run are printed together, once it has passed. By then the branch may exist.
INSTANTS = [
    ("run_started", None),
    ("attempt_started", "1"),
    ("attempt_ended", "1"),
    ("candidate_made", "1"),
    ("gate_ended", "1"),
    ("landing_started", "1"),
    ("task_finished", "1"),
    ("landing_started", "2"),
    ("task_finished", "3"),
]


def three_tasks(new_scene: MakeScene) -> Scene:
    scene = new_scene()
    text = plan(
        *(task(number, f"test -s made-{number}.txt") for number in TASKS), e2e="ls made-1.txt made-3.txt"
    )
    scene.commit(plan__md=text, agent__sh=APPENDS)
    return scene


def check_each_once(scene: Scene) -> None:
    """However often it was killed: one commit for each task, with its own evidence, and all is clean."""
    status = scene.status("plan.md")
    assert status["status"] == "completed"
    commits = scene.commits("work", since=status["base"])
    assert [commit.trailers["Orchestrator-Task"] for commit in commits] == TASKS
    assert [shown["commit"] for shown in status["tasks"]] == [commit.id for commit in commits]
    for commit in commits:
        evidence = scene.evidence(status["run"], commit.trailers["Orchestrator-Evidence"])
        assert (evidence["candidate"], evidence["verdict"]) == (commit.id, "pass")
    assert scene.git("status", "--porcelain") == ""
    assert scene.git("fsck", "--strict", "--no-dangling") == ""
    assert scene.containers() == []
    assert status["e2e"]["status"] == "passed"


def kill(command: Living, numbers: list[int]) -> None:
    command.send(signal.SIGKILL)
    killed = command.finish()
    numbers += [event["n"] for event in killed.events]


def test_a_run_killed_after_each_fact_can_be_resumed(new_scene: MakeScene) -> None:
    """The same run is killed right after each of these events and resumed each time."""
    scene = three_tasks(new_scene)
    numbers: list[int] = []
    landed: set[str] = set()
    for kind, wanted in INSTANTS:
        if wanted is not None and wanted in landed:
            continue
        with scene.start("run", "plan.md", "--json", *AGENT) as command:
            try:
                command.until(kind, task=wanted)
            finally:
                kill(command, numbers)
        if scene.git("for-each-ref", "refs/heads/work"):
            landed = {commit.trailers["Orchestrator-Task"] for commit in scene.commits("work", since="main")}
    done = scene.run()
    assert done.exit_code == 0, done
    check_each_once(scene)
    numbers += [event["n"] for event in done.events]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("seed", [2])
def test_a_run_killed_after_a_random_delay_can_be_resumed(new_scene: MakeScene, seed: int) -> None:
    scene = three_tasks(new_scene)
    delays = random.Random(seed)
    numbers: list[int] = []
    for _ in range(6):
        with scene.start("run", "plan.md", "--json", *AGENT) as command:
            time.sleep(delays.uniform(0.4, 4.0))
            kill(command, numbers)
    done = scene.run(*AGENT)
    assert done.exit_code == 0, done
    check_each_once(scene)
    numbers += [event["n"] for event in done.events]
    while numbers[-2:-1] == numbers[-1:]:
        numbers.pop()  # a run that is completed shows its last event again
    assert numbers == sorted(set(numbers))


def test_an_interrupted_attempt_does_not_count(new_scene: MakeScene) -> None:
    """Its container is removed while the run has no owner; the task still has its only attempt."""
    scene = new_scene()
    agent = f"{REPORT}\nif test $ORCHESTRATOR_ATTEMPT = 1; then {HANGS}; fi\n"
    agent += "echo x > made.txt; report completed\n"
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh=agent)
    once = ("-c", "limits.attempts=1")
    with scene.start("run", "plan.md", "--json", *AGENT, *once) as command:
        container = command.until("attempt_started")["container"]
        wait_until_runs(container, "agent.sh")
        kill(command, [])
    docker("rm", "-f", container)
    done = scene.run()
    assert done.exit_code == 0, done
    assert [event["attempt"] for event in done.of("attempt_started")] == [2]


def test_a_kill_during_the_lookup_of_the_agents_program(new_scene: MakeScene) -> None:
    """The container that looks into the image is left behind, before there is a run; the next start works."""
    scene = three_tasks(new_scene)
    caught = False
    for _ in range(5):
        with scene.start("run", "plan.md", "--json", *AGENT) as command:
            while command.alive and not (caught := any("probe" in name for name in scene.containers())):
                pass
            kill(command, [])
        if caught:
            break
    assert caught
    assert scene.run(*AGENT).exit_code == 0
    check_each_once(scene)


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_closing_the_reader_of_the_output_does_not_change_the_run(
    new_scene: MakeScene, options: list[str]
) -> None:
    """`orchestrator run … | head -1`: the run continues to its end, and its exit code is right."""
    scene = three_tasks(new_scene)
    pipe = ("bash", "-c", '"$@" | head -n 1; exit ${PIPESTATUS[0]}', "bash")
    done = subprocess.run(
        [*pipe, *scene.caller.program, "run", "plan.md", *options, *AGENT],
        cwd=scene.folder,
        env=scene.environment({}),
        capture_output=True,
    )
    assert done.returncode == 0, done
    assert b"Traceback" not in done.stderr and b"bug" not in done.stderr
    check_each_once(scene)
