"""`doctor --fix`: what it asks for, what it does, and what it leaves."""

from collections.abc import Callable

from orchestrator.commands.doctor import Diagnosis, DoctorRequest
from orchestrator.commands.fixes import carry_out_fixes
from orchestrator.commands.request import StartOptions
from orchestrator.containers.base import (
    LABEL_KIND,
    LABEL_RUN,
    LABEL_STATE,
    ContainerLimits,
    ContainerSpec,
)
from orchestrator.testing.project import TemporaryProject

MakeProject = Callable[..., TemporaryProject]
IMAGE = "ktrdr-coding-agent:latest"


def fix(project: TemporaryProject, agrees: Callable[[str], bool]) -> tuple[Diagnosis, list[str], list[str]]:
    asked: list[str] = []
    said: list[str] = []

    def answer(question: str) -> bool:
        asked.append(question)
        return agrees(question)

    request = DoctorRequest(options=StartOptions(agent="command"))
    found = project.do(carry_out_fixes(project.host, request, agrees=answer, say=said.append))
    return found, asked, said


def leave_container(project: TemporaryProject, run: str) -> None:
    labels = {
        LABEL_STATE: (project.state / "id").read_text().strip(),
        LABEL_KIND: "gate",
        LABEL_RUN: run,
    }
    limits = ContainerLimits(memory_bytes=1 << 30, cpus=None, pids=10)
    spec = ContainerSpec(name="ktrdr-gate-x", image=IMAGE, uid=0, gid=0, limits=limits, labels=labels)
    project.do(project.engine.create(spec))


def test_it_asks_and_fixes_the_state_folder_and_ended_containers(make_project: MakeProject) -> None:
    project = make_project()
    leave_container(project, project.run().run)
    project.state.chmod(0o755)
    found, asked, said = fix(project, lambda question: False)
    assert [question.split(" ")[0] for question in asked] == ["Make"]
    assert (project.state.stat().st_mode & 0o777, said) == (0o755, [])
    assert found.checks["state"].status == "failed"
    found, asked, said = fix(project, lambda question: True)
    assert [question.split(" ")[0] for question in asked] == ["Make", "Remove"]
    assert said == [
        f"fixed: only you can access {project.state}",
        "fixed: removed ktrdr-gate-x",
    ]
    assert project.state.stat().st_mode & 0o777 == 0o700
    assert found.checks["state"].status == "ok"
    assert fix(project, lambda question: True)[1:] == ([], [])


def test_a_missing_image_is_offered(make_project: MakeProject) -> None:
    project = make_project()
    project.run()
    project.do(project.engine.remove_image(IMAGE))
    found, asked, _ = fix(project, lambda question: False)
    assert asked == [f"Build the image {IMAGE}, which takes minutes"]
    assert found.checks["image"].status == "failed"
