"""Titles, ids and places of plans as users write them: each works, or is one clear error."""

import pytest
from e2e_kit import AGENT, REPORT, Scene, plan, task

pytestmark = pytest.mark.docker

WORKS = f"{REPORT}\necho $ORCHESTRATOR_TASK >> made.txt\nreport completed\n"

TITLES = {
    "1": "a/b/../../etc/passwd",
    "2": "-rf --force",
    "3": "..",
    "4": 'it\'s "quoted" `so` $(touch hacked)',
    "5": "x" * 200,
    "3b.1": "שלום \u202ekcatta",
    "A.1": "Zoë 漢字 🙂",
    "M3.2": "# <!-- not a comment -->",
}


def test_titles_and_ids(scene: Scene) -> None:
    scene.commit(plan__md=plan(*(task(id, title=title) for id, title in TITLES.items())), agent__sh=WORKS)
    done = scene.run(*AGENT)
    assert done.exit_code == 0, done
    tasks = scene.status(done.run)["tasks"]
    assert [entry["task"] for entry in tasks] == list(TITLES)
    assert {entry["status"] for entry in tasks} == {"completed"}
    assert (scene.folder / "made.txt").read_text().split() == list(TITLES)
    assert not (scene.folder / "hacked").exists()
    shown = scene.orchestrator("status", done.run)
    assert "\u202e" not in shown.out
    assert scene.containers() == []


def test_a_plan_that_is_a_link_out_of_the_repository(scene: Scene) -> None:
    scene.commit(agent__sh=WORKS)
    outside = scene.area / "outside.md"
    outside.write_text(plan(task("1")))
    outside.chmod(0o644)
    (scene.folder / "plan.md").symlink_to(outside)
    done = scene.run(*AGENT)
    assert done.exit_code == 2, done
    assert "link" in done.err
    assert not scene.ever_started()


def test_a_state_folder_that_others_can_read(scene: Scene) -> None:
    scene.commit(plan__md=plan(task("1")), agent__sh=WORKS)
    scene.state.mkdir(parents=True, exist_ok=True)
    scene.state.chmod(0o755)
    done = scene.run(*AGENT)
    assert done.exit_code == 2, done
    assert "chmod 700" in done.err
    assert not scene.ever_started()


def test_titles_under_a_locale_that_is_not_utf_8(scene: Scene) -> None:
    scene.commit(plan__md=plan(task("1", title="Zoë ☃")), agent__sh=WORKS)
    done = scene.run(*AGENT, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.exit_code == 0, done
    assert scene.git("log", "-1", "--format=%s", "work") == "1: Zoë ☃"
