"""A configuration, a state folder and a plan that cannot be used: one error each, and nothing is done."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_kit import AGENT, REPORT, Scene, plan, task

pytestmark = pytest.mark.docker

PLAN = plan(task("1", "test -s made.txt"))
WORKS = f"{REPORT}\necho x > made.txt\nreport completed\n"


def refused(
    scene: Scene, *words: str, environment: dict[str, str] | None = None, name: str = "plan.md"
) -> None:
    """A run is refused in a few lines with all of these words, and leaves the folder as it is."""
    before = scene.picture()
    done = scene.run(*AGENT, plan=name, **(environment or {}))
    assert (done.exit_code, done.stdout) == (2, b""), done
    assert 1 <= len(done.err.splitlines()) <= 10, done
    for word in words:
        assert word in done.err, done
    assert "Traceback" not in done.err
    assert scene.picture() == before
    assert not scene.ever_started()


CONTENTS = {
    "a key that is not known": (b"[limits]\natempts = 2\n", ["orchestrator.toml:2", "`limits.attempts`"]),
    "a section that is not known": (b"\n[limit]\nattempts = 2\n", ["orchestrator.toml:3", "limits"]),
    "a word for a number": (
        b"[limits]\nattempts = 'two'\n",
        ["orchestrator.toml:2", "a whole number", "'two'"],
    ),
    "a number for a list": (b"[verify]\ntask = 7\n", ["orchestrator.toml:2", "a list of strings"]),
    "a value for a section": (b"limits = 2\n", ["orchestrator.toml:1", "a section"]),
    "no TOML": (b"\n\nattempts: 2\n", ["orchestrator.toml:3", "is not TOML"]),
    "a key twice": (b"[limits]\nattempts = 2\nattempts = 2\n", ["orchestrator.toml", "is not TOML"]),
    "a byte order mark": (
        b"\xef\xbb\xbf[limits]\nattempts = 2\n",
        ["orchestrator.toml:1", "byte order mark"],
    ),
    "UTF-16": ("[limits]\n".encode("utf-16"), ["orchestrator.toml:1", "byte order mark"]),
    "Latin-1": (b"[agent]\n# gr\xfc\xdfe\n", ["orchestrator.toml:2", "UTF-8"]),
    "a huge file": (b"#" * 40_000, ["orchestrator.toml", "32768"]),
    "a secret among the variables": (
        b"[environment]\nvariables = { API_TOKEN = 'x' }\n",
        ["orchestrator.toml:2", "API_TOKEN", "looks like a secret"],
    ),
}


@pytest.mark.parametrize(("content", "words"), CONTENTS.values(), ids=CONTENTS)
def test_invalid_content_of_the_file(scene: Scene, content: bytes, words: list[str]) -> None:
    scene.write("orchestrator.toml", content)
    scene.commit(plan__md=PLAN, agent__sh=WORKS)
    refused(scene, *words)


def link_out(scene: Scene, path: Path) -> None:
    outside = scene.area / "outside.toml"
    outside.write_text("[limits]\nattempts = 1\n")
    path.symlink_to(outside)


PLACES: dict[str, tuple[Callable[[Scene, Path], None], list[str]]] = {
    "a link out of the repository": (
        link_out,
        ["orchestrator.toml", "a link that leads out of the repository"],
    ),
    "a link to nothing": (
        lambda scene, path: path.symlink_to("nothing"),
        ["a link to a file that does not exist"],
    ),
    "a link to itself": (lambda scene, path: path.symlink_to(path.name), ["orchestrator.toml"]),
    "a folder": (lambda scene, path: path.mkdir(), ["not a regular file"]),
    "a pipe": (lambda scene, path: os.mkfifo(path), ["not a regular file"]),
}


@pytest.mark.parametrize(("make", "words"), PLACES.values(), ids=PLACES)
def test_a_file_that_is_not_regular(
    scene: Scene, make: Callable[[Scene, Path], None], words: list[str]
) -> None:
    scene.commit(plan__md=PLAN, agent__sh=WORKS)
    make(scene, scene.folder / "orchestrator.toml")
    refused(scene, *words)


def test_the_users_file_is_read_as_strictly(scene: Scene) -> None:
    scene.commit(plan__md=PLAN, agent__sh=WORKS)
    own = scene.area / "home" / ".config" / "ktrdr-orchestrator" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[limits]\nattempts = 2\nattemts = 3\n")
    refused(scene, f"{own}:3", "`limits.attempts`")


def test_a_variable_of_an_unknown_setting(scene: Scene) -> None:
    scene.commit(plan__md=PLAN, agent__sh=WORKS)
    refused(
        scene,
        "ORCHESTRATOR_LIMITS_ATEMPTS",
        "ORCHESTRATOR_LIMITS_ATTEMPTS",
        environment={"ORCHESTRATOR_LIMITS_ATEMPTS": "2"},
    )


def file_in_its_way(scene: Scene) -> str:
    (scene.area / "file").write_text("x")
    return str(scene.area / "file")


STATE: dict[str, tuple[Callable[[Scene], str], list[str]]] = {
    "below a file": (file_in_its_way, ["cannot be made", "XDG_STATE_HOME"]),
    "where nothing can be made": (lambda scene: "/proc/1", ["cannot be made", "XDG_STATE_HOME"]),
    "in the code folder": (
        lambda scene: f"{scene.folder}/state",
        ["where an agent can change it", "XDG_STATE_HOME"],
    ),
    "no absolute path": (lambda scene: "state", ["XDG_STATE_HOME", "absolute"]),
}


@pytest.mark.parametrize(("where", "words"), STATE.values(), ids=STATE)
def test_the_state_folder(scene: Scene, where: Callable[[Scene], str], words: list[str]) -> None:
    scene.commit(plan__md=PLAN, agent__sh=WORKS)
    refused(scene, *words, environment={"XDG_STATE_HOME": where(scene)})


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777, 0o500], ids=oct)
def test_a_state_folder_with_the_wrong_mode(scene: Scene, mode: int) -> None:
    scene.commit(plan__md=PLAN, agent__sh=WORKS)
    scene.state.mkdir(mode=0o700)
    scene.state.chmod(mode)
    refused(scene, f"mode {mode:04o}", f"chmod 700 {scene.state}")


def test_a_plan_that_is_a_link_within_the_repository_works(scene: Scene) -> None:
    scene.commit(**{"plans/first.md": PLAN}, agent__sh=WORKS)
    (scene.folder / "plan.md").symlink_to("plans/first.md")
    scene.commit()
    done = scene.run(*AGENT)
    assert done.exit_code == 0, done
    assert (scene.folder / "plan.md").is_symlink()
    assert (scene.folder / "plans/first.md").read_text() == PLAN


def test_a_plan_below_a_folder_that_is_a_link_out(scene: Scene) -> None:
    scene.commit(agent__sh=WORKS)
    (scene.area / "plans").mkdir()
    (scene.area / "plans" / "plan.md").write_text(PLAN)
    (scene.folder / "plans").symlink_to(scene.area / "plans")
    refused(scene, "a link to a file outside the code folder", name="plans/plan.md")


@pytest.mark.parametrize("id", ["a/b", "-rf", "..", '"1"', "x" * 200, "שלום"], ids=lambda id: id[:5])
def test_a_task_with_an_invalid_id(scene: Scene, id: str) -> None:
    scene.commit(plan__md=plan(task(id, "test -s made.txt")), agent__sh=WORKS)
    refused(scene, "plan.md", "3.1")
