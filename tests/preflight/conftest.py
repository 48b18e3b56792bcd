import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from doctor_kit import Diagnosis, Patient

from orchestrator.cli.main import main
from orchestrator.testing.project import TemporaryProject

NO_ENGINE = "unix:///nonexistent/docker.sock"
REAL_ENGINE = os.environ.get("DOCKER_HOST")


@pytest.fixture
def bare_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Patient:
    """An empty folder that we stand in; no engine answers, unless a test takes DOCKER_HOST away."""
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)
    monkeypatch.chdir(folder)

    def diagnose(*words: str) -> Diagnosis:
        code = main(["doctor", *words])
        captured = capsys.readouterr()
        return Diagnosis(exit_code=code, out=captured.out, err=captured.err)

    return Patient(folder=folder, diagnose=diagnose)


@pytest.fixture
def patient(bare_folder: Patient) -> Patient:
    """A repository with a commit."""
    bare_folder.start()
    return bare_folder


@pytest.fixture
def engine(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own engine; for tests that carry the mark `docker`."""
    if REAL_ENGINE is None:
        monkeypatch.delenv("DOCKER_HOST")
    else:
        monkeypatch.setenv("DOCKER_HOST", REAL_ENGINE)


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[..., TemporaryProject]]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(TemporaryProject(tmp_path, **options))
