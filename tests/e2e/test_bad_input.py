"""Input that cannot be carried out: one error, exit 2, and nothing changed."""

import subprocess  # noqa: TID251 - a command whose folder is removed under its feet
from collections.abc import Callable

import pytest
from e2e_kit import AGENT, REPORT, Done, Scene, plan, task, waiting_for

pytestmark = pytest.mark.docker

WORKS = f"{REPORT}\necho x > made.txt\nreport completed\n"
GOOD = plan(task("1", "test -s made.txt"))


def start(scene: Scene, text: str = GOOD) -> None:
    scene.commit(plan__md=text, agent__sh=WORKS)


def refused(scene: Scene, act: Callable[[], Done], *words: str) -> None:
    """The action of `act` is refused with these words, and leaves no trace."""
    before = scene.picture()
    done = act()
    assert done.exit_code == 2, done
    assert done.stdout == b""
    lines = done.err.splitlines()
    assert 1 <= len(lines) <= 10, done.err
    for word in words:
        assert word in done.err, done.err
    assert "Traceback" not in done.err
    assert scene.picture() == before
    assert not scene.ever_started()


BAD_PLANS = {
    "no plan": (None, "no.md", ["no.md"]),
    "empty plan": ("", "plan.md", ["plan.md", "no task"]),
    "plan without tasks": ("# Milestone 1: Words\n\nOnly words.\n", "plan.md", ["no task"]),
    "a plan that repeats an id": (plan(task("1"), task("1")), "plan.md", ["plan.md:"]),
    "a plan in a circle": (plan(task("1", depends="2"), task("2", depends="1")), "plan.md", ["1 → 2"]),
    "not a text": ("\0\0\0", "plan.md", ["plan.md"]),
    "a folder": (None, ".", ["file"]),
    "a plan outside the folder": (None, "../plan.md", ["outside"]),
}


@pytest.mark.parametrize(("text", "name", "words"), BAD_PLANS.values(), ids=BAD_PLANS)
@pytest.mark.parametrize("command", ["run", "task"])
def test_plans(scene: Scene, command: str, text: str | None, name: str, words: list[str]) -> None:
    start(scene, GOOD if text is None else text)
    rest = ["1"] if command == "task" else []
    refused(scene, lambda: scene.orchestrator(command, name, *rest, "--json", *AGENT), *words)


def test_an_unknown_task(scene: Scene) -> None:
    start(scene)
    refused(scene, lambda: scene.orchestrator("task", "plan.md", "7", "--json", *AGENT), "task 7", "1")


def test_below_a_repository(scene: Scene) -> None:
    scene.write("sub/plan.md", GOOD)
    start(scene)
    below = scene.folder / "sub"
    refused(scene, lambda: scene.orchestrator("run", "plan.md", "--json", *AGENT, cwd=below), "cd ", "root")


def test_no_repository(scene: Scene) -> None:
    start(scene)
    (scene.area / "plan.md").write_text(GOOD)
    refused(
        scene,
        lambda: scene.orchestrator("run", "plan.md", "--json", *AGENT, cwd=scene.area),
        "repository",
        "git",
    )


def test_a_repository_without_a_commit(scene: Scene) -> None:
    scene.write("plan.md", GOOD)
    refused(scene, lambda: scene.run(*AGENT), "commit")


@pytest.mark.parametrize("dirt", ["changed", "staged", "untracked", "deleted"])
def test_a_dirty_tree(scene: Scene, dirt: str) -> None:
    scene.write("notes.txt", "one\n")
    start(scene)
    match dirt:
        case "changed":
            scene.write("notes.txt", "two\n")
        case "staged":
            scene.write("notes.txt", "two\n")
            scene.git("add", "-A")
        case "untracked":
            scene.write("notes.txt.new", "two\n")
        case "deleted":
            (scene.folder / "notes.txt").unlink()
    refused(scene, lambda: scene.run(*AGENT), "notes.txt", "stash")


def test_no_docker(scene: Scene) -> None:
    start(scene)
    refused(
        scene, lambda: scene.run(*AGENT, DOCKER_HOST="unix:///nowhere/docker.sock"), "/nowhere/docker.sock"
    )


def test_no_image(scene: Scene) -> None:
    start(scene)
    refused(scene, lambda: scene.run(*AGENT, "-c", "image.name=ktrdr-nowhere:latest"), "image build")


def test_no_credential(scene: Scene) -> None:
    start(scene)
    refused(scene, lambda: scene.run(), "credential", "ANTHROPIC_API_KEY")


CONTRADICTIONS = {
    "two agents": (["--agent", "nop", *AGENT], ["--agent-command"]),
    "an unknown agent": (["--agent", "claud-code"], ["claud-code", "claude-code"]),
    "an unknown setting": ([*AGENT, "-c", "limits.atempts=1"], ["limits.attempts"]),
    "a setting of the wrong type": ([*AGENT, "-c", "limits.attempts=many"], ["limits.attempts"]),
    "an agent command without a program": (["--agent", "command"], ["agent", "command", "program"]),
    "a script that is not there": (["-c", "gateway.scripted=no.json"], ["no.json"]),
}


@pytest.mark.parametrize(("options", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_options(scene: Scene, options: list[str], words: list[str]) -> None:
    start(scene)
    refused(scene, lambda: scene.run(*options), *words)


def test_inside_a_run(scene: Scene) -> None:
    start(scene)
    refused(scene, lambda: scene.run(*AGENT, ORCHESTRATOR_RUN="plan-123456"), "plan-123456")


def test_a_setting_of_the_repository_that_needs_trust(scene: Scene) -> None:
    scene.write("orchestrator.toml", '[[mounts]]\nsource = "/etc"\ntarget = "/host"\n')
    start(scene)
    refused(scene, lambda: scene.run(*AGENT), "mounts")


def test_nothing_to_resume(scene: Scene) -> None:
    start(scene)
    refused(scene, lambda: scene.orchestrator("resume", "--json", *AGENT), "no unfinished run")


def test_an_agent_program_that_is_missing_in_the_image(scene: Scene) -> None:
    start(scene)
    before = scene.picture()
    done = scene.run("--agent-command", "no-such-agent --fast")
    assert (done.exit_code, done.stdout) == (2, b""), done
    assert "no-such-agent" in done.err
    assert scene.picture() == before
    assert scene.containers() == []


@pytest.mark.parametrize(
    "words",
    [("run", "plan.md", "--json", *AGENT), ("status",), ("status", "--json"), ("history",)],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_folder_that_vanished(scene: Scene, words: tuple[str, ...]) -> None:
    start(scene)

    def vanish() -> Done:
        gone = scene.area / "gone"
        gone.mkdir()
        vanishing = ['cd "$1" && rmdir "$1" && shift && exec "$@"', "sh", str(gone), *scene.caller.program]
        done = subprocess.run(
            ["sh", "-c", *vanishing, *words],
            env=scene.environment({}),
            capture_output=True,
        )
        return Done(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    refused(scene, vanish, "no longer exists", "cd")


def test_a_second_run_in_the_same_folder_names_the_holder(scene: Scene) -> None:
    start(scene, plan(task("1", "test -s made.txt")))
    scene.write("other.md", plan(task("1", "test -s made.txt"), branch="other"))
    scene.commit(agent__sh=f"{waiting_for('/workspace/go')}\n{WORKS}")
    with scene.start("run", "plan.md", "--json", *AGENT) as first:
        run = first.until("attempt_started")["run"]
        for command in (("run", "plan.md"), ("run", "other.md"), ("resume", run)):
            second = scene.orchestrator(*command, "--json", *AGENT)
            assert (second.exit_code, second.stdout) == (2, b""), second
            assert run in second.err and str(first.pid) in second.err, second.err
            assert len(second.err.splitlines()) <= 10
        scene.write("go", "")
        done = first.finish()
    assert done.exit_code == 0, done
    assert len(scene.commits("work", since=done.events[0]["base"])) == 1


def test_a_second_run_of_another_state_folder_is_refused_too(scene: Scene) -> None:
    start(scene)
    scene.commit(agent__sh=f"{waiting_for('/workspace/go')}\n{WORKS}")
    with scene.start("run", "plan.md", "--json", *AGENT) as first:
        first.until("attempt_started")
        second = scene.run(*AGENT, XDG_STATE_HOME=str(scene.area / "home"))
        assert (second.exit_code, second.stdout) == (2, b""), second
        scene.write("go", "")
        assert first.finish().exit_code == 0


def test_an_untracked_plan_is_not_dirty_and_never_committed(scene: Scene) -> None:
    scene.commit(agent__sh=WORKS)
    scene.write("plan.md", plan(task("1", "test -s made.txt", "test ! -e plan.md")))
    done = scene.run(*AGENT)
    assert done.exit_code == 0, done
    assert scene.git("status", "--porcelain") == "?? plan.md"


NAMES = {
    "spaces": "my first project",
    "colons and commas": "a:b,c=d;e",
    "quotes": 'it\'s "quoted" `here` $HOME \\n',
    "other letters": "проект 日本語 ü é",
    "all of it": "-x: 'a' \"b\" ü\tz",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_folders_of_any_name_work(new_scene: Callable[..., Scene], name: str) -> None:
    scene = new_scene(name=name)
    start(scene)
    scene.git("mv", "plan.md", "my plan ü's.md")
    scene.git("commit", "-qm", "renamed")
    done = scene.run(*AGENT, plan="my plan ü's.md")
    assert done.exit_code == 0, done
    assert scene.status("my plan ü's.md")["folder"] == str(scene.folder)
    assert len(scene.commits("work", since=done.events[0]["base"])) == 1


def test_a_missing_host_folder_to_mount(scene: Scene) -> None:
    start(scene)
    mounts = f'mounts=[{{source="{scene.area}/absent", target="/shared/data"}}]'
    refused(scene, lambda: scene.run(*AGENT, "-c", mounts), "absent", "/shared/data", "mkdir -p")
