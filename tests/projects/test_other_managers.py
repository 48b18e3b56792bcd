"""Package managers beside uv and npm, each found by its lock file, from plan to commit."""

import json
from dataclasses import dataclass, field

import pytest
from e2e_kit import AGENT, Done, MakeScene, Scene, plan, task
from project_kit import AGENT_HEAD, OWN_SETUP, lock, owner, verdicts

pytestmark = pytest.mark.docker


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    lock_file: str
    lock: str
    """The command that makes it."""
    check: str
    """The plan's command; it fails until size.txt contains 2000."""
    folder: str
    """Where the manager puts dependencies."""
    files: dict[str, str] = field(default_factory=dict)


def node(manager: str, **files: str) -> dict[str, str]:
    """A package of one dependency, by a version of a package manager that the image does not bring."""
    check = (
        "require('node:assert').strictEqual(require('ms')('2s'), "
        "Number(require('node:fs').readFileSync('size.txt')))"
    )
    package = {
        "name": "shapes",
        "version": "1.0.0",
        "private": True,
        "packageManager": manager,
        "scripts": {"check": "node check.js"},
        "dependencies": {"ms": "2.1.3"},
    }
    return {"package.json": json.dumps(package), "check.js": check, **files}


PROJECTS = {
    "pnpm": Project(
        lock_file="pnpm-lock.yaml",
        lock="npx -y pnpm@9.15.9 install --lockfile-only",
        check="pnpm run check",
        folder="node_modules",
        files=node("pnpm@9.15.9"),
    ),
    "yarn classic": Project(
        lock_file="yarn.lock",
        lock="npx -y yarn@1.22.22 install --ignore-scripts && rm -r node_modules",
        check="yarn run check",
        folder="node_modules",
        files=node("yarn@1.22.22"),
    ),
    "yarn": Project(
        lock_file="yarn.lock",
        lock="npx -y @yarnpkg/cli-dist@4.9.2 install --mode=update-lockfile",
        check="yarn run check",
        folder="node_modules",
        files=node("yarn@4.9.2", **{".yarnrc.yml": "nodeLinker: node-modules\nenableTelemetry: false\n"}),
    ),
    "pip": Project(
        lock_file="requirements.txt",
        lock="echo six==1.17.0 > requirements.txt",
        check="python check.py",
        folder=".venv",
        files={"check.py": "import pathlib, six\nassert int(pathlib.Path('size.txt').read_text()) == 2000\n"},
    ),
}
AGENT_PROGRAM = """
test -n "$(ls FOLDER)"
echo left > FOLDER/agent
test "$ORCHESTRATOR_ATTEMPT" = 1 && echo 1999 > size.txt || echo 2000 > size.txt
CHECK || test "$ORCHESTRATOR_ATTEMPT" = 1
report completed
"""


@pytest.fixture(scope="module", params=PROJECTS.values(), ids=list(PROJECTS))
def carried_out(request: pytest.FixtureRequest, new_module_scene: MakeScene) -> tuple[Project, Scene, Done]:
    project: Project = request.param
    scene = new_module_scene(owner=owner())
    agent = AGENT_PROGRAM.replace("FOLDER", project.folder).replace("CHECK", project.check)
    files = {
        ".gitignore": f"{project.folder}/\n.yarn/\n",
        "plan.md": plan(task("1", project.check, f"test ! -e {project.folder}/agent")),
        "agent.sh": AGENT_HEAD + agent,
        **project.files,
    }
    for path, content in files.items():
        scene.write(path, content)
    lock(scene, project.lock)
    scene.commit()
    return project, scene, scene.run(*OWN_SETUP, *AGENT)


def test_it_lands(carried_out: tuple[Project, Scene, Done]) -> None:
    project, scene, done = carried_out
    assert done.exit_code == 0, done
    assert len(scene.commits("work", since=done.events[0]["base"])) == 1
    assert [event["found"] for event in done.of("setup_started")] == [[project.lock_file]]


def test_gates_run_on_the_candidate(carried_out: tuple[Project, Scene, Done]) -> None:
    _, _, done = carried_out
    assert [verdict for _, gate, verdict in verdicts(done) if gate == "verify-1"] == ["fail", "pass"]


def test_nothing_of_it_is_in_the_users_folder(carried_out: tuple[Project, Scene, Done]) -> None:
    project, scene, _ = carried_out
    assert not (scene.folder / project.folder).exists()
    assert set(scene.owners().values()) == {scene.owner}


def test_folders_of_the_project_do_not_pass_for_programs_that_install(new_scene: MakeScene) -> None:
    scene = new_scene(owner=owner())
    for name in ("pip", "venv"):
        scene.write(f"{name}/__init__.py", "")
        scene.write(f"{name}/__main__.py", "raise SystemExit('not the program')\n")
    scene.write("agent.sh", f"{AGENT_HEAD}echo x > made.txt\nreport completed\n")
    check = "test -s made.txt && .venv/bin/python -c 'import six'"
    scene.commit(plan__md=plan(task("1", check)), requirements__txt="six==1.17.0\n", __gitignore=".venv/\n")
    done = scene.run(*OWN_SETUP, *AGENT)
    assert done.exit_code == 0, done
