"""Tricks by which a tree makes git run programs: each is first shown to work against the user's plain git."""

import os
import subprocess  # noqa: TID251 - does by hand what an agent does in its container
from dataclasses import dataclass
from typing import Any

import pytest
from e2e_kit import AGENT, REPORT, Caller, MakeScene, Scene, plan, task

pytestmark = pytest.mark.docker


@dataclass(frozen=True, slots=True, kw_only=True)
class Trick:
    settings: tuple[tuple[str, str], ...]
    """The user's own configuration, which leads into the tree."""
    script: str
    """The agent's script; $MARK is a file that the program makes."""
    naive: tuple[tuple[str, ...], ...]
    """Git commands by which a plain orchestrator would do its work."""
    lands: bool = True
    is_held: bool = False
    """Whether its landing waits until the user allows it."""


INCLUDED = (("include.path", "../settings"),)
RUNS = "printf '#!/bin/sh\\ntouch %s\\n' $MARK"
NAIVE = (("add", "-A"), ("commit", "-q", "-m", "naive"))
TRICKS = {
    "a file-system monitor from an included file": Trick(
        settings=INCLUDED,
        script=f"{RUNS} > monitor; chmod +x monitor; printf '[core]\\nfsmonitor = ./monitor\\n' > settings",
        naive=NAIVE,
    ),
    "a file-system monitor of a nested repository": Trick(
        settings=(),
        script="git init -q n; cd n; git -c user.name=x -c user.email=x@y commit -q --allow-empty -m x; "
        f"{RUNS} > monitor; chmod +x monitor; git config core.fsmonitor ./monitor; cd ..",
        naive=(("add", "-A"), ("status",)),
    ),
    "a filter from an included file": Trick(
        settings=INCLUDED,
        script="printf '[filter \"x\"]\\nclean = touch %s; cat\\n' $MARK > settings; "
        "echo '*.txt filter=x' > .gitattributes; echo more >> user.txt",
        naive=NAIVE,
        lands=False,
    ),
    "a hook of a hooks path in the tree": Trick(
        settings=(("core.hooksPath", "hooks"),),
        script="mkdir -p hooks; for hook in pre-commit reference-transaction post-index-change; "
        f"do {RUNS} > hooks/$hook; done; chmod +x hooks/*",
        naive=NAIVE,
        is_held=True,
    ),
    "a transport of a rewritten address": Trick(
        settings=(*INCLUDED, ("protocol.ext.allow", "always")),
        script="printf '[url \"ext::touch %s %%%%S \"]\\ninsteadOf = /\\n' $MARK > settings",
        naive=(("fetch", "/nonexistent"),),
    ),
    "a text conversion and an outside diff": Trick(
        settings=INCLUDED,
        script="printf '[diff]\\nexternal = touch %s\\n' $MARK > settings; "
        "printf '[diff \"x\"]\\ntextconv = touch %s\\n' $MARK >> settings; "
        "echo '* diff=x' > .gitattributes; echo more >> user.txt",
        naive=(("diff",),),
    ),
}


def make(new_scene: MakeScene, ordinary: Caller, trick: Trick) -> tuple[Scene, str]:
    scene = new_scene(owner=ordinary.uid, caller=ordinary)
    mark = scene.area / "home" / "mark"
    script = trick.script.replace("$MARK", str(mark))
    scene.commit(
        plan__md=plan(task("1")),
        user__txt="the user's\n",
        agent__sh=f"{REPORT}\n{script}\necho made > made.txt\nreport completed\n",
    )
    for name, value in trick.settings:
        scene.git("config", name, value)
    return scene, script


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS)
def test_no_planted_program_runs_on_the_host(new_scene: MakeScene, ordinary: Caller, trick: Trick) -> None:
    plain, script = make(new_scene, ordinary, trick)
    identity: dict[str, Any] = (
        {} if plain.owner == os.geteuid() else {"user": plain.owner, "group": plain.owner}
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(plain.area / "home")}
    subprocess.run(["bash", "-c", script], cwd=plain.folder, env=environment, check=True, **identity)
    for words in trick.naive:
        try:
            plain.git(*words)
        except subprocess.CalledProcessError:
            pass  # it may fail once it has run the program
    assert (plain.area / "home" / "mark").exists(), "the trick does not work against a plain git"

    scene, _ = make(new_scene, ordinary, trick)
    done = scene.run(*AGENT, "-c", "limits.attempts=1")
    if trick.is_held:
        assert (done.exit_code, done.end["cause"]) == (4, "landing_refused"), done
        done = scene.orchestrator("resume", "--json", "-c", 'landing.allow=["hooks"]')
    assert done.exit_code == (0 if trick.lands else 1), done
    if not trick.lands:
        scene.orchestrator("resume", "--json")
    scene.orchestrator("undo" if trick.lands else "abandon", done.run, *(["1"] if trick.lands else []))
    assert not (scene.area / "home" / "mark").exists()
    scene.git("config", "--remove-section", "include") if trick.settings == INCLUDED else None
