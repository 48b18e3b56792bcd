"""`clean` with ages that make no sense, beside another `clean`, and with an image that is in use."""

import asyncio
import os
from collections.abc import Callable
from datetime import timedelta

import pytest
from cli_kit import orchestrate

from orchestrator.commands.clean import CleanRequest, clean, parse_age
from orchestrator.containers.base import ContainerLimits, ContainerSpec
from orchestrator.containers.project_image import LABEL_PROJECT
from orchestrator.errors import EnvironmentInvalid, UsageError
from orchestrator.testing.project import TemporaryProject

MakeProject = Callable[..., TemporaryProject]
ALL = CleanRequest(older_than=timedelta())
LIMITS = ContainerLimits(memory_bytes=1 << 30, cpus=None, pids=10)


@pytest.mark.parametrize(
    "age", ["nonsense", "", "30", "d", "-1d", "1y", "1.5d", "99999999d", " 1d", "1d\n", "١d"]
)
def test_an_age_that_makes_no_sense_is_refused_with_examples(age: str) -> None:
    with pytest.raises(UsageError, match="is not a valid age") as refused:
        parse_age(age)
    assert refused.value.where == "--older-than" and "12h, 30d or 2w" in (refused.value.hint or "")


def test_the_largest_age_is_before_every_run(make_project: MakeProject) -> None:
    project = make_project()
    project.run()
    said: list[str] = []
    project.do(clean(project.host, CleanRequest(older_than=parse_age("999999w")), say=said.append))
    assert said == ["no containers"]


def test_two_at_once_remove_everything_once(make_project: MakeProject) -> None:
    project = make_project()
    report = project.run()
    project.do(project.clock.sleep(60))
    said: list[str] = []

    async def both() -> None:
        await asyncio.gather(*(clean(project.host, ALL, say=said.append) for _ in range(2)))

    project.do(both())
    assert f"removed candidates, saved trees and private folders of run {report.run}" in said
    assert not [line for line in said if line.startswith("kept the data")]
    again: list[str] = []
    project.do(clean(project.host, ALL, say=again.append))
    assert again == ["no containers"]


def test_an_image_in_use_stays_and_is_named(make_project: MakeProject) -> None:
    project = make_project()
    project.run()
    own = (project.state / "id").read_text().strip()

    async def build_and_use() -> None:
        spec = ContainerSpec(name="build", image="ktrdr-coding-agent:latest", uid=0, gid=0, limits=LIMITS)
        container = await project.engine.create(spec)
        await project.engine.commit(container, name="ktrdr-project:used", labels={LABEL_PROJECT: own}, env={})
        await project.engine.remove(container)
        using = ContainerSpec(name="using", image="ktrdr-project:used", uid=0, gid=0, limits=LIMITS)
        await project.engine.create(using)
        await project.clock.sleep(60)

    project.do(build_and_use())
    said: list[str] = []
    project.do(clean(project.host, ALL, say=said.append))
    assert "kept the image ktrdr-project:used: a container or another image uses it" in said


def test_a_state_folder_that_cannot_be_written_is_refused(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project()
    report = project.run()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    for command in (
        lambda: project.do(clean(project.host, ALL, say=print)),
        lambda: project.undo("1"),
        project.abandon,
    ):
        with pytest.raises(EnvironmentInvalid, match="the state folder cannot be written"):
            command()
    monkeypatch.undo()
    assert project.git("log", "-1", "--format=%s", "work") and report.status == "completed"


@pytest.mark.parametrize(
    "command", [("clean",), ("undo", "trial-1", "1"), ("abandon", "trial-1")], ids=" ".join
)
def test_a_broken_journal_is_named_and_kept(
    command: tuple[str, ...], make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project()
    project.run()
    journal = project.state / "journal.sqlite"
    for path in project.state.glob("journal.sqlite*"):
        path.write_bytes(b"no database" * 1000)
    monkeypatch.setenv("XDG_STATE_HOME", project.environ["XDG_STATE_HOME"])
    done = orchestrate(*command, cwd=project.folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"{journal}: the journal cannot be used" in done.stderr.decode()
    assert journal.read_bytes() == b"no database" * 1000
