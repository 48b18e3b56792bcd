"""The program is upgraded in place while a run lives: the run has loaded everything that it needs."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from e2e_kit import AGENT, PACKAGE, MakeScene, sandboxed, task, waiting_for
from mount_kit import IN_SANDBOX, begin

pytestmark = IN_SANDBOX


@pytest.mark.parametrize("is_repaired", [True, False], ids=["completed", "failed"])
def test_a_run_ends_without_its_package_on_disk(
    new_scene: MakeScene, tmp_path: Path, is_repaired: bool
) -> None:
    copy = tmp_path / "installed"
    shutil.copytree(PACKAGE, copy / "orchestrator", ignore=shutil.ignore_patterns("__pycache__"))
    caller = replace(sandboxed(), pythonpath=os.pathsep.join((str(copy), *sys.path)), main=None)
    scene = replace(new_scene(), caller=caller)
    works = f"echo half > half.txt; {waiting_for('.go')}; echo made > made.txt"
    begin(scene, task("1", "test -s made.txt" if is_repaired else "false"), t1=works)
    scene.write(".git/info/exclude", ".go\n")
    with scene.start("run", "plan.md", "--json", *AGENT, "-c", "limits.attempts=2") as command:
        command.until_exists(scene.folder / "half.txt")
        for part in (copy / "orchestrator").iterdir():
            if part.name != "testing":  # the fake engine starts programs of its own there
                part.rename(tmp_path / part.name)
        scene.write(".go", "")
        done = command.finish()
    assert done.exit_code == (0 if is_repaired else 1), done
    assert done.end["status"] == ("completed" if is_repaired else "failed")
    assert "Traceback" not in done.err
