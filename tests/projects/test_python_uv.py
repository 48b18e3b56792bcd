"""A Python project with uv and pytest: a package with a dependency, installed editable."""

import pytest
from e2e_kit import AGENT, Done, MakeScene, Scene, plan, task
from project_kit import AGENT_HEAD, OWN_SETUP, lock, verdicts

pytestmark = pytest.mark.docker

PYPROJECT = """\
[project]
name = "shapes"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["idna"]

[dependency-groups]
dev = ["pytest"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""
TESTS = """\
import idna
from shapes import area


def test_area():
    assert area(2, 3) == 6
    assert idna.encode("ü") == b"xn--tda"
"""
# The base passes its tests; the first attempt breaks them, the second fixes them and more.
AGENT_PROGRAM = f"""{AGENT_HEAD}
test "$(command -v pytest)" = /workspace/.venv/bin/pytest
python -c 'import idna, pytest, shapes; assert shapes.__file__ == "/workspace/src/shapes/__init__.py"'
echo left by the agent > .venv/agent
test "$ORCHESTRATOR_ATTEMPT" = 1 && sum='a + b' || sum='a * b'
printf 'def area(a, b):\\n    return %s\\n' "$sum" > src/shapes/__init__.py
printf 'area: a, b\\n' > README.md
report completed
"""


@pytest.fixture(scope="module")
def carried_out(new_module_scene: MakeScene) -> tuple[Scene, Done]:
    scene = new_module_scene()
    files = {
        "pyproject.toml": PYPROJECT,
        "src/shapes/__init__.py": "def area(a, b):\n    return b * a\n",
        "tests/test_area.py": TESTS,
        ".gitignore": ".venv/\n__pycache__/\n.pytest_cache/\n",
        "plan.md": plan(task("1", "pytest -q", "test ! -e .venv/agent; test -s README.md")),
        "agent.sh": AGENT_PROGRAM,
    }
    for path, content in files.items():
        scene.write(path, content)
    lock(scene, "uv lock --quiet")
    scene.commit()
    scene.write(".venv/own", "the user's")
    return scene, scene.run(*OWN_SETUP, *AGENT)


def test_it_lands(carried_out: tuple[Scene, Done]) -> None:
    scene, done = carried_out
    assert done.exit_code == 0, done
    assert len(scene.commits("work", since=done.events[0]["base"])) == 1


def test_gates_run_on_the_candidate_and_not_on_the_base(carried_out: tuple[Scene, Done]) -> None:
    _, done = carried_out
    assert [each["before"] for each in done.of("base_checked")] == ["already_green", "red"]
    assert verdicts(done) == [
        (1, "verify-1", "fail"),
        (1, "verify-2", "pass"),
        (2, "verify-1", "pass"),
        (2, "verify-2", "pass"),
    ]


def test_setup_is_found_and_announced_and_runs_once(carried_out: tuple[Scene, Done]) -> None:
    _, done = carried_out
    (started,) = done.of("setup_started")
    assert (started["commands"], started["found"]) == (["uv sync --frozen"], ["uv.lock"])
    (ended,) = done.of("setup_ended")
    assert (ended["status"], ended["changed"]) == ("done", [])
    kinds = [event["kind"] for event in done.events]
    assert kinds.index("setup_ended") < kinds.index("base_checked") < kinds.index("branch_ready")


def test_the_users_own_environment_stays_as_it_was(carried_out: tuple[Scene, Done]) -> None:
    scene, _ = carried_out
    assert [path.name for path in (scene.folder / ".venv").iterdir()] == ["own"]
    assert scene.git("status", "--porcelain") == ""


def test_the_next_run_has_it_already(carried_out: tuple[Scene, Done]) -> None:
    scene, _ = carried_out
    done = scene.run("--new", *OWN_SETUP, "--agent", "nop")
    assert done.exit_code == 0, done
    assert done.of("setup_started") == []
    assert [event["status"] for event in done.of("setup_ended")] == ["reused"]
