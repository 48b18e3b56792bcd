"""A run with the fakes is killed before every effect that it has, and again while it is resumed.

It ends as if it had not been killed. FAULTS=whole (`make soak`) tries every instant, else a few are tried.
"""

import os
import random
import re
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from killed_fork import before_effect, run_and_kill

from orchestrator.run.facts import CandidateMade
from orchestrator.testing.project import TemporaryProject

IS_WHOLE = os.environ.get("FAULTS") == "whole"
MOST_EFFECTS = 640
"""A little more than the run has."""
BLOCKS = 16
"""Each is a test of its own, so that several workers share them."""
ONCE = ("task_started", "container_created", "attempt_ended", "landing_started", "task_finished")
AGAIN = ("attempt_started", "gate_started", "gate_ended", "candidate_made")
"""Facts that may be there once more after each kill: of an attempt without a container, and of gates."""
SAVED = ("refs/ktrdr/edits", "runs/RUN/gates", "holders/", "ktrdr-orchestrator/.orchestrator-")
"""Files that may differ after a kill: the folder as it was then, saved as a commit; an empty folder; the
record of a process that was killed after the end of the run, until the next run in the folder; and the draft
of the state folder's id, if the first command of all was killed while it wrote it.
"""


def choose_effects(block: int) -> range:
    return range(1 + block, MOST_EFFECTS, BLOCKS if IS_WHOLE else 160)


def list_files(root: Path, run: str) -> set[str]:
    """All files and folders besides git's objects; names that differ from run to run are replaced."""
    found = set()
    for path in root.rglob("*"):
        name = str(path.relative_to(root)).replace(run, "RUN")
        name = re.sub(r"repositories/[0-9a-f]{24}", "repositories/OWN", name)
        name = re.sub(r"\.scripted/[-0-9a-f]+", ".scripted/SESSION", name)
        name = re.sub(r"documents/[0-9a-f]{40}", "documents/COMMIT", name)
        name = re.sub(r"evidence/e\d+", "evidence/E", name)
        if "/objects/" not in name and not name.startswith("engine/"):
            found.add(name)
    return {name for name in found if not any(saved in name for saved in SAVED)}


def run_to_end(folder: Path, *effects: int) -> tuple[set[str], int]:
    """Carry a run out that is killed before each of these effects, check it, and list its files."""
    scratch = folder / "tmp"
    scratch.mkdir(parents=True)
    before, tempfile.tempdir = tempfile.tempdir, str(scratch)
    try:
        with TemporaryProject(folder, tasks=("1",)) as project:
            kills = sum(run_and_kill(project, before_effect(number)) for number in effects)
            report = project.run()
            check_the_end(project, report.run, kills)
            return list_files(folder, report.run) - {"left-containers"}, kills
    finally:
        tempfile.tempdir = before


def check_the_end(project: TemporaryProject, run: str, kills: int) -> None:
    facts = project.facts(run)
    assert facts[-1].body.kind == "run_ended"
    assert [fact.n for fact in facts] == list(range(1, len(facts) + 1))
    times = Counter(fact.body.kind for fact in facts)
    assert {kind: times[kind] for kind in ONCE} == dict.fromkeys(ONCE, 1)
    assert all(1 <= times[kind] <= 1 + kills for kind in AGAIN), times
    made = [fact.body for fact in facts if isinstance(fact.body, CandidateMade)]
    assert len({(candidate.commit, candidate.evidence) for candidate in made}) == 1
    assert project.git("log", "--format=%s", "main..work") == "1: Write task-1.txt"
    assert project.git("show", "work:task-1.txt") == "the work of 1"
    assert project.git("status", "--porcelain") == ""
    project.git("fsck", "--strict")
    assert project.do(project.engine.list({})) == ()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of a run that was not killed."""
    return run_to_end(tmp_path_factory.mktemp("reference"))[0]


@pytest.mark.parametrize("block", range(BLOCKS if IS_WHOLE else 1))
def test_a_run_that_is_killed_before_any_effect_ends_as_another_one(
    tmp_path: Path, files: set[str], block: int
) -> None:
    dice, total = random.Random(block), 0
    for number in choose_effects(block):
        again = dice.randint(1, MOST_EFFECTS)
        left, kills = run_to_end(tmp_path / str(number), number, again)
        assert left == files, f"killed before effects {number} and {again}"
        total += kills
    assert total > 0
