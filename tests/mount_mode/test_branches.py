"""The branch that a run works on, and branches that it refuses. Files are never switched under the user."""

from collections.abc import Callable

import pytest
from e2e_kit import Scene
from mount_kit import IN_SANDBOX, begin, run, status, subjects

pytestmark = IN_SANDBOX

MAKES = "echo made > made.txt"


def test_a_new_branch_is_made_at_head_and_head_stays_on_it(scene: Scene) -> None:
    base = begin(scene, branch="feature/deep/one", t1=MAKES)
    done = run(scene)
    assert done.exit_code == 0, done
    assert scene.git("symbolic-ref", "HEAD") == "refs/heads/feature/deep/one"
    assert subjects(scene, base, "feature/deep/one") == ["1: Do it"]
    assert (scene.git("rev-parse", "main"), status(scene)) == (base, [])


def test_a_run_adds_to_the_branch_that_is_checked_out(scene: Scene) -> None:
    begin(scene, t1=MAKES)
    scene.git("switch", "-q", "-c", "work")
    scene.git("commit", "-q", "--allow-empty", "-m", "by the user")
    done = run(scene)
    assert done.exit_code == 0, done
    assert subjects(scene, "main") == ["by the user", "1: Do it"]


REFUSED: dict[str, tuple[Callable[[Scene], object], str]] = {
    "it exists and HEAD is not on it": (lambda scene: scene.git("branch", "work"), "git switch work"),
    "it is checked out in another worktree": (
        lambda scene: scene.git("worktree", "add", "-q", "-b", "work", str(scene.area / "other")),
        "git switch work",
    ),
    "it is checked out here and in another worktree": (
        lambda scene: (
            scene.git("switch", "-q", "-c", "work"),
            scene.git("worktree", "add", "-q", "-f", str(scene.area / "other"), "work"),
        ),
        "another worktree",
    ),
    "a branch below it exists": (lambda scene: scene.git("branch", "work/below"), "work/below"),
}


@pytest.mark.parametrize(("prepare", "says"), REFUSED.values(), ids=REFUSED)
def test_a_branch_is_refused_before_anything_changes(
    scene: Scene, prepare: Callable[[Scene], object], says: str
) -> None:
    begin(scene, t1=MAKES)
    prepare(scene)
    before = scene.picture()
    done = run(scene)
    assert (done.exit_code, done.stdout) == (2, b""), done
    assert "work" in done.err and says in done.err
    assert scene.picture() == before
    assert not scene.ever_started()
