"""A Node project with npm and its own test runner, by the real Claude Code with its scripted model."""

import json

import pytest
from e2e_kit import Done, MakeScene, Scene, bash, outcome, plan, script, task
from project_kit import OWN_SETUP, lock, owner, verdicts

pytestmark = pytest.mark.docker

PACKAGE = {
    "name": "shapes",
    "version": "1.0.0",
    "type": "commonjs",
    "scripts": {"test": "node --test"},
    "dependencies": {"ms": "2.1.3"},
}
TESTS = """\
const assert = require("node:assert");
const { test } = require("node:test");
const ms = require("ms");
const { area } = require("./area.js");

test("area", () => assert.strictEqual(area(2, 3), 6));
test("dependency", () => assert.strictEqual(ms("2s"), 2000));
"""


def area(body: str) -> str:
    return f"exports.area = (a, b) => {body};\n"


def works(body: str) -> str:
    """The agent finds the dependency, writes the code, and writes into node_modules."""
    return (
        'node -e \'require("ms")("1s")\' && echo left > node_modules/agent && '
        f"printf '%s' '{area(body)}' > area.js && echo {body!r} > NOTES"
    )


@pytest.fixture(scope="module")
def carried_out(new_module_scene: MakeScene) -> tuple[Scene, Done]:
    scene = new_module_scene(owner=owner())
    files = {
        "package.json": json.dumps(PACKAGE),
        "area.js": area("b * a"),
        "area.test.js": TESTS,
        ".gitignore": "node_modules/\n",
        "plan.md": plan(task("1", "npm test", "test -s NOTES; test ! -e node_modules/agent")),
        "model.json": script(t1=[bash(works("a + b")), outcome(), bash(works("a * b")), outcome()]),
    }
    for path, content in files.items():
        scene.write(path, content)
    lock(scene, "npm install --package-lock-only --silent --no-fund --no-audit")
    scene.commit()
    return scene, scene.run(*OWN_SETUP, "-c", "gateway.scripted=model.json")


def test_it_lands(carried_out: tuple[Scene, Done]) -> None:
    scene, done = carried_out
    assert done.exit_code == 0, done
    assert len(scene.commits("work", since=done.events[0]["base"])) == 1
    assert [event["found"] for event in done.of("setup_started")] == [["package-lock.json"]]


def test_gates_run_on_the_candidate_and_not_on_the_base(carried_out: tuple[Scene, Done]) -> None:
    _, done = carried_out
    assert [each["before"] for each in done.of("base_checked")] == ["already_green", "red"]
    assert [verdict for _, gate, verdict in verdicts(done) if gate == "verify-1"] == ["fail", "pass"]


def test_where_the_user_has_no_dependencies_none_appear(carried_out: tuple[Scene, Done]) -> None:
    scene, _ = carried_out
    assert not (scene.folder / "node_modules").exists()
    assert set(scene.owners().values()) == {scene.owner}
