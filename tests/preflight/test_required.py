"""The same list for both: what a run refuses, `doctor` reports, in the same words."""

from collections.abc import Callable

import pytest

from orchestrator.agents.base import CredentialKind
from orchestrator.commands.doctor import DoctorRequest, doctor
from orchestrator.commands.request import StartOptions
from orchestrator.containers.base import LABEL_KIND, LABEL_RUN, LABEL_STATE, ContainerLimits, ContainerSpec
from orchestrator.errors import EnvironmentInvalid, OrchestratorError
from orchestrator.mounts import Bind
from orchestrator.preflight.checks import CHECKS, Stage
from orchestrator.preflight.site import Finding
from orchestrator.testing.agent import ScriptedAgent, exits, reports
from orchestrator.testing.engine import IMAGE
from orchestrator.testing.processes import Scripts
from orchestrator.testing.project import TemporaryProject

MakeProject = Callable[..., TemporaryProject]
FAILING = ScriptedAgent({("2", number): (reports("failed"), exits(1)) for number in (1, 2, 3)})


def examine(project: TemporaryProject, name: str) -> Finding:
    """The finding of the `doctor` check with this name."""
    (found,) = project.do(
        doctor(project.host, DoctorRequest(only=name, options=StartOptions()))
    ).checks.values()
    return found


def _change(project: TemporaryProject) -> None:
    (project.folder / "new.txt").write_text("new\n")


def _absent_file(project: TemporaryProject) -> None:
    project.environ["ORCHESTRATOR_ENVIRONMENT_REQUIRED_FILES"] = '["absent.txt"]'


def _nothing_to_mount(project: TemporaryProject) -> None:
    project.environ["ORCHESTRATOR_MOUNTS"] = '[{source = "/no/such/folder", target = "/data"}]'


def _failing_check(project: TemporaryProject) -> None:
    project.environ["ORCHESTRATOR_ENVIRONMENT_CHECKS"] = '[{run = "exit 3"}]'


REFUSALS: list[tuple[str, Callable[[TemporaryProject], None], str]] = [
    ("required_files", _absent_file, "failed"),
    ("checks", _failing_check, "failed"),
    ("mounts", _nothing_to_mount, "failed"),
    ("changes", _change, "warning"),
]


@pytest.mark.parametrize(("name", "disorder", "status"), REFUSALS, ids=[name for name, _, _ in REFUSALS])
def test_what_a_run_refuses_is_what_doctor_reports(
    make_project: MakeProject, name: str, disorder: Callable[[TemporaryProject], None], status: str
) -> None:
    project = make_project()
    disorder(project)
    with pytest.raises(OrchestratorError) as refused:
        project.run()
    assert refused.value.exit_code == 2
    check = examine(project, name)
    assert check.status == status
    assert refused.value.what in check.detail
    assert check.fix == refused.value.hint
    assert list((project.state / "runs").glob("*")) == []


def test_work_of_an_unfinished_run_is_a_warning_and_names_it(make_project: MakeProject) -> None:
    project = make_project(tasks=("1", "2"), agent=FAILING)
    report = project.run()
    check = examine(project, "work")
    assert check.status == "warning"
    assert f"run {report.run}" in check.detail
    branch = examine(project, "branch")
    assert (branch.status, branch.detail) == ("ok", "HEAD is on work")


def test_only_checks_with_the_folder_locked_are_passing_states() -> None:
    late = {Stage.LOCKED, Stage.ALONE}
    assert {name for name, check in CHECKS.items() if check.stage in late} == {
        name for name, check in CHECKS.items() if check.passing
    }


def test_a_branch_that_exists_and_is_not_checked_out(make_project: MakeProject) -> None:
    project = make_project()
    project.git("branch", "work")
    with pytest.raises(EnvironmentInvalid, match="work") as refused:
        project.run()
    assert refused.value.hint is not None
    assert "git switch work" in refused.value.hint
    assert not (project.state / "runs").exists()


async def _start_foreign(project: TemporaryProject) -> None:
    spec = ContainerSpec(
        name="foreign",
        image=IMAGE,
        uid=0,
        gid=0,
        limits=ContainerLimits(memory_bytes=1_000_000, cpus=None, pids=10),
        command=("sleep", "600"),
        mounts=(Bind(source=project.folder, target="/workspace"),),
        labels={LABEL_KIND: "attempt", LABEL_RUN: "other-run", LABEL_STATE: "another"},
    )
    await project.engine.start(await project.engine.create(spec))


def test_a_container_that_works_in_the_folder(make_project: MakeProject) -> None:
    project = make_project()
    project.do(_start_foreign(project))
    with pytest.raises(EnvironmentInvalid, match="the container foreign works in") as refused:
        project.run()
    assert refused.value.hint is not None
    assert "orchestrator cancel other-run" in refused.value.hint
    assert [spec.name for spec in project.engine.specs] == ["foreign"]
    check = examine(project, "containers")
    assert (check.status, check.detail) == ("warning", str(refused.value).split("\n")[0])


class Configured(ScriptedAgent):
    takes_command = True


def test_a_program_that_the_image_does_not_have(make_project: MakeProject) -> None:
    project = make_project(agent=Configured())
    project.engine.run = Scripts({})
    with pytest.raises(EnvironmentInvalid, match="agent's program") as refused:
        project.run()
    assert refused.value.where == IMAGE
    assert project.engine.specs == ()
    assert "refs/heads/work" not in project.git("for-each-ref")


def test_the_programs_of_built_in_agents_are_looked_up_in_an_image_of_the_users(
    make_project: MakeProject,
) -> None:
    project = make_project()
    project.engine.build_again("mine:1")
    project.environ["ORCHESTRATOR_IMAGE_NAME"] = "mine:1"
    assert project.run().status == "completed"
    project.engine.run = Scripts({})
    with pytest.raises(EnvironmentInvalid, match="program scripted does not exist") as refused:
        project.run(new=True)
    assert refused.value.where == "mine:1"
    assert "FROM ktrdr-coding-agent:latest" in (refused.value.hint or "")


class Modelled(ScriptedAgent):
    needs_model = True
    credentials: tuple[CredentialKind, ...] = ("api_key",)


def test_only_a_run_with_an_agent_needs_a_credential(make_project: MakeProject) -> None:
    project = make_project(agent=Modelled())
    assert project.run(only_base=True).status == "completed"
    with pytest.raises(OrchestratorError, match="ANTHROPIC_API_KEY") as refused:
        project.run()
    assert refused.value.exit_code == 2
