"""A Rust project: its toolchain is Debian's, its dependency a crate beside it, its lock file found."""

import pytest
from e2e_kit import AGENT, Done, MakeScene, Scene, plan, task
from project_kit import AGENT_HEAD, OWN_SETUP, owner, verdicts

pytestmark = pytest.mark.docker

RUST = ("-c", 'image.packages=["cargo"]')
FILES = {
    "Cargo.toml": '[package]\nname = "shapes"\nversion = "0.1.0"\nedition = "2021"\n\n'
    '[dependencies]\nunits = { path = "units" }\n',
    "Cargo.lock": 'version = 3\n\n[[package]]\nname = "shapes"\nversion = "0.1.0"\n'
    'dependencies = [\n "units",\n]\n\n[[package]]\nname = "units"\nversion = "0.1.0"\n',
    "units/Cargo.toml": '[package]\nname = "units"\nversion = "0.1.0"\nedition = "2021"\n',
    "units/src/lib.rs": "pub const SIDES: u32 = 2;\n",
    "src/lib.rs": "pub fn area(a: u32, b: u32) -> u32 {\n    a + b\n}\n\n"
    "#[test]\nfn works() {\n    assert_eq!(area(units::SIDES, 3), 6);\n}\n",
    ".gitignore": "target/\n",
    "plan.md": plan(task("1", "cargo test --locked --offline")),
}
AGENT_PROGRAM = f"""{AGENT_HEAD}
cargo metadata --locked --offline --format-version 1 > /dev/null
test "$ORCHESTRATOR_ATTEMPT" = 1 && echo '# Shapes' > README.md || sed -i "s/a + b/a * b/" src/lib.rs
report completed
"""


@pytest.fixture(scope="module")
def carried_out(new_module_scene: MakeScene) -> tuple[Scene, Done]:
    scene = new_module_scene(owner=owner())
    for path, content in {**FILES, "agent.sh": AGENT_PROGRAM}.items():
        scene.write(path, content)
    scene.commit()
    return scene, scene.run(*RUST, *OWN_SETUP, *AGENT)


def test_it_lands(carried_out: tuple[Scene, Done]) -> None:
    scene, done = carried_out
    assert done.exit_code == 0, done
    assert len(scene.commits("work", since=done.events[0]["base"])) == 1
    assert [event["found"] for event in done.of("setup_started")] == [["Cargo.lock"]]


def test_gates_run_on_the_candidate_and_not_on_the_base(carried_out: tuple[Scene, Done]) -> None:
    _, done = carried_out
    assert [each["before"] for each in done.of("base_checked")] == ["red"]
    assert [verdict for _, gate, verdict in verdicts(done) if gate == "verify-1"] == ["fail", "pass"]


def test_nothing_of_it_is_in_the_users_folder(carried_out: tuple[Scene, Done]) -> None:
    scene, _ = carried_out
    assert not (scene.folder / "target").exists()
    assert set(scene.owners().values()) == {scene.owner}
