"""Every module of the loop and of the commands does its work without Docker, with the fakes that ship.

A module whose functions are not called here may have no test that runs without a container engine.
"""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import FrameType

import pytest

import orchestrator
from orchestrator.commands.answer import AnswerRequest, answer
from orchestrator.commands.clean import CleanRequest, clean
from orchestrator.commands.demo import choose_environment, find_example, make_repository
from orchestrator.commands.doctor import DoctorRequest, doctor
from orchestrator.commands.dry_run import dry_run
from orchestrator.commands.fixes import carry_out_fixes
from orchestrator.commands.init import propose, write_configuration
from orchestrator.commands.plan_new import choose_test_commands
from orchestrator.commands.request import RunRequest, StartOptions
from orchestrator.commands.service import list_runs_to_resume
from orchestrator.commands.shell import shell
from orchestrator.commands.trust import approve, load_for_approval
from orchestrator.engine import keep_awake
from orchestrator.engine.shutdown import is_shutting_down
from orchestrator.gates.setup_image import LABEL_SETUP
from orchestrator.testing.agent import ScriptedAgent, hits_limit, reports, writes
from orchestrator.testing.processes import Process
from orchestrator.testing.project import TemporaryProject

PACKAGE = Path(orchestrator.__file__).parent
SETTINGS = """\
[setup]
commands = ["install"]

[masked]
files = [".env"]
"""


def install(process: Process) -> None:
    """Install dependencies as a package manager does: into a folder that git ignores."""
    process.path(".venv").mkdir()
    process.path(".venv/.gitignore").write_text("*\n")
    process.path(".venv/tool").write_text("installed\n")


def check(process: Process) -> int:
    assert process.path(".venv/tool").read_text() == "installed\n"
    return 0 if process.path("task-1.txt").exists() else 1


def uses_what_is_installed(process: Process) -> None:
    assert process.path(".venv/tool").read_text() == "installed\n"
    assert process.path(".env").read_text() == ""


@pytest.fixture
def called() -> Iterator[set[str]]:
    """The files of all functions that are called, but in threads."""
    files: set[str] = set()

    def received(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            files.add(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(received)
    yield files
    sys.setprofile(before)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[TemporaryProject]:
    agent = ScriptedAgent(
        {
            ("1", 1): (
                uses_what_is_installed,
                writes("half.txt", "half\n"),
                reports("needs_human", question="Which?"),
            ),
            ("1", 2): (uses_what_is_installed, hits_limit("usage_limit")),
        }
    )
    programs = {"install": install, "check 1": check}
    with TemporaryProject(tmp_path, agent=agent, gates=programs, settings=SETTINGS) as project:
        yield project


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program that joins a terminal with a container: it says with which."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_every_module_is_used(
    project: TemporaryProject,
    fake_docker: None,
    called: set[str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (project.folder / ".env").write_text("SECRET=1\n")
    (project.folder / ".gitignore").write_text(".env\n")
    project.git("add", ".gitignore")
    project.git("commit", "-q", "-m", "ignore")
    check_trust(project)
    check_a_dry_run(project)
    check_a_run(project)
    check_a_shell(project, capfd)
    check_the_way_back(project)
    check_doctor(project)
    check_init(project)
    check_awake(project, monkeypatch)
    check_a_reboot(project)
    check_the_demo(project)
    modules = [path for part in ("engine", "commands") for path in (PACKAGE / part).glob("[!_]*.py")]
    with_functions = [path for path in modules if "def " in path.read_text()]
    assert [path.name for path in with_functions if str(path) not in called] == []


def check_a_reboot(project: TemporaryProject) -> None:
    assert not project.do(is_shutting_down())
    assert list_runs_to_resume(project.host, ("orchestrator",)) == ()


def check_the_demo(project: TemporaryProject) -> None:
    environ = choose_environment({"XDG_CACHE_HOME": str(project.folder.parent)}, Path("/empty"), live=False)
    folder = project.do(make_repository(environ, find_example()))
    assert (folder / "plan.md").is_file()


def check_trust(project: TemporaryProject) -> None:
    folder, loaded = load_for_approval(project.host)
    assert (folder, loaded.unapproved) == (project.folder, ())
    approve(project.host, folder, loaded)


def check_a_run(project: TemporaryProject) -> None:
    report = project.run()
    assert (report.status, report.exit_code) == ("waiting", 3)
    answered = project.do(answer(project.host, AnswerRequest(run=report.run, choice="the first")))
    assert (answered.answer.text, answered.has_owner) == ("the first", False)
    report = project.resume(until=project.clock.now() + timedelta(hours=8))
    assert (report.status, report.exit_code) == ("parked", 4)
    report = project.resume()
    assert report.status == "completed"
    landed = project.git("ls-tree", "-r", "--name-only", "work").split()
    assert {"half.txt", "task-1.txt"} < set(landed) and ".env" not in landed
    assert (project.folder / ".env").read_text() == "SECRET=1\n"
    (image,) = project.do(project.engine.images({LABEL_SETUP: None}))
    assert [attempt.number for attempt in project.agent.attempts] == [1, 2, 3]
    assert image.names


def check_a_shell(project: TemporaryProject, capfd: pytest.CaptureFixture[str]) -> None:
    assert project.do(shell(project.host, ["make", "test"])) == 7
    assert capfd.readouterr().out.endswith("make test\n")
    assert project.do(project.engine.list({})) == ()


def check_a_dry_run(project: TemporaryProject) -> None:
    found = project.do(dry_run(project.host, RunRequest(plan="plan.md")))
    assert [each.kind for each in found.containers] == ["setup", "attempt", "gate"]
    assert found.setup == ("install",)


def check_the_way_back(project: TemporaryProject) -> None:
    assert [entry.task for entry in project.undo("1").undone] == ["1"]
    assert project.resume().status == "completed"
    taken = project.abandon()
    assert taken is not None and project.git("log", "--format=%s", "main..work") == ""
    project.cancel()
    said: list[str] = []
    project.clock.advance(3600)
    request = CleanRequest(older_than=timedelta(0))
    project.do(clean(project.host, request, say=said.append))
    assert said[0] == "no containers"


def check_init(project: TemporaryProject) -> None:
    (project.folder / "orchestrator.toml").unlink()
    (project.folder / "Cargo.toml").write_text("[package]\n")
    assert choose_test_commands(project.host) == ("cargo test",)
    proposal = project.do(propose(project.host))
    assert proposal.secrets == (".env",)
    write_configuration(proposal)
    assert "cargo test" in (project.folder / "orchestrator.toml").read_text()


def check_awake(project: TemporaryProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a program that keeps the machine awake, the work is done all the same."""
    monkeypatch.setattr(keep_awake, "INHIBITORS", (("nosuchprogram-7",),))

    async def hold() -> str:
        async with keep_awake.keep_awake():
            return "at work"

    assert project.do(hold()) == "at work"


def check_doctor(project: TemporaryProject) -> None:
    request = DoctorRequest(options=StartOptions(agent="command"))
    project.do(carry_out_fixes(project.host, request, agrees=lambda question: False, say=print))
    found = project.do(doctor(project.host, request))
    assert found.checks["agent"].detail == "scripted (in the image)"
    assert found.checks["setup"].detail.startswith("setup.commands: ")
    assert not [spec for spec in project.engine.specs if spec.name.startswith("ktrdr-doctor-")]
