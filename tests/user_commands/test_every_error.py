"""Every class of error, provoked through the command: its message and exit code, word for word."""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from e2e_kit import AGENT, REPORT, Done, Scene, plan, task, waiting_for

from orchestrator import errors

pytestmark = pytest.mark.docker

WORKS = f"{REPORT}\necho x > made.txt\nreport completed\n"

INTERNAL = {
    errors.OrchestratorError,  # the base of all
    errors.CodingAgentError,  # parks a run; its words are the engine's
    errors.CodingAgentTimeout,  # a gate's verdict, never an error of a command
}
"""Errors that no command can end with."""


def start(scene: Scene, agent: str = WORKS) -> None:
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh=agent)


def usage(scene: Scene) -> Done:
    start(scene)
    return scene.orchestrator("task", "plan.md", "7", *AGENT)


def no_plan(scene: Scene) -> Done:
    scene.commit(plan__md="# Milestone 1: Words\n\nOnly words.\n")
    return scene.run(*AGENT)


def configuration(scene: Scene) -> Done:
    start(scene)
    return scene.run(*AGENT, "-c", "limits.attemps=5")


def environment(scene: Scene) -> Done:
    start(scene)
    scene.write("notes.txt", "mine\n")
    return scene.run(*AGENT)


def busy(scene: Scene) -> Done:
    start(scene, f"{REPORT}\n{waiting_for('go')}\necho x > made.txt\nreport completed\n")
    with scene.start("run", "plan.md", "--json", *AGENT) as first:
        first.until("attempt_started")
        refused = scene.run(*AGENT)
        scene.write("go", "")
        assert first.finish().exit_code == 0
    return refused


def setup(scene: Scene) -> Done:
    start(scene)
    return scene.run(*AGENT, "-c", 'setup.commands=["echo missing; exit 3"]')


def engine(scene: Scene) -> Done:
    start(scene)
    return scene.run(*AGENT, "-c", "container.cpus=1000")


def moved(scene: Scene) -> Done:
    start(scene, f"{REPORT}\n: > started\n{waiting_for('go')}\necho x > made.txt\nreport completed\n")
    with scene.start("run", "plan.md", "--json", *AGENT) as run:
        run.until("attempt_started")
        scene.git("commit", "-q", "--allow-empty", "-m", "mine")
        scene.write("go", "")
        return run.finish()


def held_journal(scene: Scene) -> Done:
    start(scene)
    assert scene.run(*AGENT).exit_code == 0
    with closing(sqlite3.connect(scene.state / "journal.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        return scene.run("--new", *AGENT)


GOLDEN: dict[type[errors.OrchestratorError], tuple[Callable[[Scene], Done], int, str]] = {
    errors.UsageError: (usage, 2, r"error: plan\.md: there is no task 7\nThe plan's tasks: 1\n"),
    errors.PlanError: (no_plan, 2, r"error: plan\.md.*no task.*\n.+\n"),
    errors.ConfigurationError: (
        configuration, 2, r"error: -c: unknown setting `limits\.attemps`\n.*`limits\.attempts`.*\n",
    ),
    errors.EnvironmentInvalid: (
        environment,
        2,
        r"error: FOLDER: there are uncommitted changes: notes\.txt\n"
        r"Commit or stash them \(git stash -u\), or let the run commit them first: --allow-dirty\n",
    ),
    errors.FolderBusy: (busy, 2, r"error: FOLDER.*run plan-[0-9a-f]{6}.*process \d+.*\n.+\n"),
    errors.SetupFailed: (
        setup,
        2,
        r"error: setup failed with exit code 3: echo missing; exit 3\n  missing\n"
        r"Fix setup\.commands or the lock files\. The whole output: \S+\n",
    ),
    errors.CannotStart: (
        engine,
        2,
        r"error: the container engine could not create the container \S+: .*CPU.*\n"
        r"Fix the setting that this is about, in \[container\], \[image\] or \[agent\]\.\n",
    ),
    errors.WorkspaceError: (moved, 4, ""),
    errors.StorageError: (
        held_journal,
        4,
        r"error: the journal cannot be written: database is locked\n"
        r"Another program has locked the journal\. Close that program, then: orchestrator resume\n",
    ),
}  # fmt: skip


def every_class(base: type[errors.OrchestratorError]) -> set[type[errors.OrchestratorError]]:
    return {base}.union(*(every_class(below) for below in base.__subclasses__()))


def test_no_class_is_left_out() -> None:
    ours = {each for each in every_class(errors.OrchestratorError) if each.__module__ == errors.__name__}
    assert ours == GOLDEN.keys() | INTERNAL


@pytest.mark.parametrize("kind", GOLDEN, ids=lambda kind: kind.__name__)
def test_message_and_exit_code(scene: Scene, kind: type[errors.OrchestratorError]) -> None:
    provoke, code, words = GOLDEN[kind]
    done = provoke(scene)
    assert done.exit_code == code, done
    said = done.err.replace(str(scene.folder), "FOLDER")
    if words:
        message = said[said.index("error: ") :].split("\n\n")[0]
        assert re.fullmatch(words, message), said
        what = message.splitlines()[0].removeprefix("error: ").removeprefix("FOLDER: ")
        assert f"{done.out}\n{said}".count(what) == 1, f"{said}\nprinted more than once"
        return
    reason = str(done.end["reason"])
    assert "was not added to the branch" in reason or "not at" in reason, reason
    assert "git log" in reason
