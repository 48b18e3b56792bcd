"""`clean`: images and data that no unfinished run needs, each reported once, with what it freed."""

from collections.abc import Callable
from datetime import timedelta

from orchestrator.commands.clean import CleanRequest, clean
from orchestrator.commands.doctor import DoctorRequest, doctor
from orchestrator.commands.request import StartOptions
from orchestrator.commands.undo import abandon
from orchestrator.containers.base import ContainerLimits, ContainerSpec
from orchestrator.containers.project_image import LABEL_PROJECT
from orchestrator.testing.agent import ScriptedAgent, exits, reports
from orchestrator.testing.project import TemporaryProject

MakeProject = Callable[..., TemporaryProject]
FAILING = ScriptedAgent({("1", number): (reports("failed"), exits(1)) for number in (1, 2, 3)})
ALL = CleanRequest(older_than=timedelta())


def build_image(project: TemporaryProject, name: str, **labels: str) -> None:
    """An image on top of the agent image, as a build makes it."""

    async def build() -> None:
        limits = ContainerLimits(memory_bytes=1 << 30, cpus=None, pids=10)
        spec = ContainerSpec(name="build", image="ktrdr-coding-agent:latest", uid=0, gid=0, limits=limits)
        container = await project.engine.create(spec)
        await project.engine.commit(container, name=name, labels=labels, env={})
        await project.engine.remove(container)

    project.do(build())


def cleaned(project: TemporaryProject, request: CleanRequest = ALL) -> list[str]:
    said: list[str] = []
    project.do(project.clock.sleep(60))
    project.do(clean(project.host, request, say=said.append))
    return said


def test_project_images_go_unless_an_unfinished_run_needs_them(make_project: MakeProject) -> None:
    project = make_project(agent=FAILING)
    project.run()  # creates the state folder
    own = (project.state / "id").read_text().strip()
    build_image(project, "ktrdr-project:needed", **{LABEL_PROJECT: own})
    build_image(project, "ktrdr-project:old", **{LABEL_PROJECT: own})
    build_image(project, "ktrdr-project:theirs", **{LABEL_PROJECT: "another"})
    build_image(project, "ktrdr-project:unlabelled")
    report = project.run(new=True, config=("image.name=ktrdr-project:needed",))
    said = cleaned(project)
    images = [line for line in said if "image" in line and "freed" not in line]
    assert images[0] == "removed the image ktrdr-project:old"
    assert [line.split(":")[1] for line in images[1:]] == ["unlabelled"]
    assert "unlabelled" not in " ".join(cleaned(project)), "it is listed once"
    project.do(abandon(project.host, report.run))
    assert "removed the image ktrdr-project:needed" in cleaned(project)


def test_the_data_of_a_run_is_removed_once(make_project: MakeProject) -> None:
    project = make_project()
    report = project.run()
    line = f"removed candidates, saved trees and private folders of run {report.run}"
    first = cleaned(project)
    assert line in first
    assert any(said.startswith("freed ") and said.endswith(" in the state folder") for said in first)
    assert line not in cleaned(project)
    project.undo("1")
    assert report.run not in " ".join(cleaned(project)), "the run is not finished any more"
    project.abandon()
    assert line in cleaned(project), "undo has kept something since"


def test_doctor_says_what_is_held(make_project: MakeProject) -> None:
    project = make_project()
    project.run()
    build_image(project, "ktrdr-project:old")
    request = DoctorRequest(only="storage", options=StartOptions())
    found = project.do(doctor(project.host, request)).checks["storage"]
    assert found.status == "ok"
    assert f" in {project.state}; " in found.detail and "in 1 image of setup and projects" in found.detail
