"""The unit of systemd that resumes runs after a reboot, and what it does."""

import os
import shutil
import subprocess  # noqa: TID251 - systemd itself reads the unit
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from orchestrator.cli.host import use_host
from orchestrator.cli.main import main
from orchestrator.commands.service import (
    ENGINE_SECONDS,
    ResumedRun,
    build_unit,
    list_runs_to_resume,
    resume_after_reboot,
    unit_path,
)
from orchestrator.containers.base import ContainerEngine
from orchestrator.engine import shutdown
from orchestrator.engine.shutdown import is_shutting_down
from orchestrator.errors import CannotStart
from orchestrator.journal.journal import Journal
from orchestrator.run.facts import Body, RunResumed, RunWaiting
from orchestrator.testing.agent import ScriptedAgent, hits_limit
from orchestrator.testing.project import TemporaryProject

ODD = "a $HOME %h ü"


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        assert os.environ.get("CI") != "true", "systemd-analyze is missing: apt-get install systemd"
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    program = tmp_path / ODD / "orchestrator"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "ktrdr-orchestrator.service"
    unit.write_text(build_unit((str(program),), {"PATH": f'/usr/bin:/{ODD} "b" \\'}))
    verify = ["systemd-analyze", "--user", "verify", "--man=no", str(unit)]
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)}
    done = subprocess.run(verify, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done
    unit.write_text(unit.read_text().replace("ExecStart=", "ExecStart=/nosuchprogram "))
    assert subprocess.run(verify, env=environment, capture_output=True).returncode != 0


def test_the_unit_has_the_variables_that_a_service_needs_and_no_credential() -> None:
    text = build_unit(
        ("/usr/bin/orchestrator",),
        {
            "PATH": "/usr/bin",
            "ANTHROPIC_API_KEY": "sk-ant-mine",
            "ANTHROPIC_API_KEY_FILE": "/home/ada/key",
            "HTTPS_PROXY": "http://ada:secret@proxy:3128",
            "HTTP_PROXY": "http://proxy:3128",
            "SHELL": "/bin/bash",
        },
    )
    variables = [line for line in text.splitlines() if line.startswith("Environment=")]
    assert variables == [
        'Environment="PATH=/usr/bin"',
        'Environment="ANTHROPIC_API_KEY_FILE=/home/ada/key"',
        'Environment="HTTP_PROXY=http://proxy:3128"',
    ]
    assert 'ExecStart="/usr/bin/orchestrator" "service" "--resume"' in text
    for source in ("credentials.command", "CLAUDE_CODE_OAUTH_TOKEN_FILE", "the keyring"):
        assert source in text
    assert "sk-ant" not in text and "secret" not in text


def test_the_unit_is_written_and_never_over_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-mine")
    for _ in range(2):
        assert main(["service", "--write"]) == 0
    out, errors = capsys.readouterr()
    page = (Path(__file__).parents[2] / "docs" / "overnight.md").read_text("utf-8")
    assert out[: len(out) // 2].replace(str(tmp_path), "/home/ada/.config") in page
    path = unit_path(os.environ)
    assert path == tmp_path / "systemd/user/ktrdr-orchestrator.service"
    assert str(path) in out and "systemctl --user enable ktrdr-orchestrator.service" in out
    assert "will not have the ANTHROPIC_API_KEY of your shell" in errors
    assert main(["service"]) == 0
    assert capsys.readouterr().out == path.read_text()
    path.write_text("[Unit]\nDescription=mine\n")
    assert main(["service", "--write"]) == 2
    assert "was not written by the orchestrator" in capsys.readouterr().err
    assert path.read_text() == "[Unit]\nDescription=mine\n"


def test_a_run_without_an_end_and_an_owner_is_listed_with_its_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = ScriptedAgent({("1", 1): [hits_limit("billing")]})
    with TemporaryProject(tmp_path, agent=agent) as project, use_host(project.host):
        parked = project.run().state
        assert main(["service", "--resume"]) == 0
        assert capsys.readouterr().out.startswith("No run was at work")

        def append(body: Body) -> None:
            journal = Journal.open(project.state / "journal.sqlite", project.clock)
            project.do(journal.append(parked.run, body))
            journal.close()

        append(RunResumed(options=parked.options))
        (found,) = list_runs_to_resume(project.host, ("orchestrator",))
        assert found.folder == project.folder
        assert found.argv == ("orchestrator", "resume", found.run, "--wait")
        assert main(["service", "--list"]) == 0
        assert capsys.readouterr().out == f"{found.run}  {project.folder}\n"

        at = "2026-01-01T23:30:00.000Z"
        append(RunWaiting(cause="scheduled", reason=None, until=at))
        (found,) = list_runs_to_resume(project.host, ())
        assert found.argv[-2:] == ("--at", at)
        project.clock.set_time(datetime.fromisoformat(at))
        (found,) = list_runs_to_resume(project.host, ())
        assert found.argv[-1] == "--wait"
        assert project.resume().exit_code == 0
        assert list_runs_to_resume(project.host, ()) == ()


def test_the_engine_may_start_after_the_service(tmp_path: Path) -> None:
    with TemporaryProject(tmp_path) as project:
        clock, asked = project.clock, [0]

        @asynccontextmanager
        async def connect() -> AsyncIterator[ContainerEngine]:
            asked[0] += 1
            if asked[0] < 4:
                raise CannotStart("the container engine does not answer")
            yield project.engine

        @asynccontextmanager
        async def never() -> AsyncIterator[ContainerEngine]:
            raise CannotStart("the container engine does not answer")
            yield project.engine

        async def start(each: ResumedRun) -> int:
            return int(each.run)

        runs = [ResumedRun(run=code, folder=tmp_path, argv=()) for code in ("3", "0")]
        host = replace(project.host, connect_engine=connect)
        assert project.do(resume_after_reboot(host, runs, start)) == [3, 0]
        assert (asked[0], clock.monotonic()) == (4, 15)
        assert project.do(resume_after_reboot(replace(host, connect_engine=never), [], start)) == []
        with pytest.raises(CannotStart):
            project.do(resume_after_reboot(replace(host, connect_engine=never), runs, start))
        assert clock.monotonic() >= 15 + ENGINE_SECONDS


@pytest.mark.parametrize(
    ("says", "stops"),
    [
        ("echo stopping; exit 1", True),
        ("echo running", False),
        ("sleep 60", False),
        ("nosuchprogram-7", False),
    ],
)
async def test_systemd_says_whether_the_machine_shuts_down(
    monkeypatch: pytest.MonkeyPatch, says: str, stops: bool
) -> None:
    argv = (says,) if says.startswith("nosuch") else ("sh", "-c", says)
    monkeypatch.setattr(shutdown, "ASK", argv)
    monkeypatch.setattr(shutdown, "ASK_SECONDS", 0.3)
    assert await is_shutting_down() == stops
