"""Every engine keeps every promise that the program relies on: the one of this machine, and the fake."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.clock import SystemClock
from orchestrator.containers.base import ContainerEngine
from orchestrator.containers.conformance import CASES, KNOWN_FAILURES, Case, Kept, KnownToBreak, Probe, judge
from orchestrator.containers.engine import connect_engine
from orchestrator.testing.engine import FakeEngine
from orchestrator.testing.sandbox import find_obstacle, run_on_host


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "fake"])
async def any_engine(
    request: pytest.FixtureRequest, tmp_path: Path, image: str
) -> AsyncIterator[ContainerEngine]:
    if request.param == "docker":
        async with await connect_engine() as client:
            yield client
    elif reason := find_obstacle():
        pytest.skip(reason)
    else:
        yield FakeEngine(
            tmp_path / "engine", run_on_host, clock=SystemClock(), images=(image,), shows_layers=True
        )


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
async def test_case(case: Case, any_engine: ContainerEngine, image: str, code_folder: Path) -> None:
    verdict = await judge(case, Probe(engine=any_engine, image=image, folder=code_folder))
    known = KNOWN_FAILURES[(await any_engine.info()).name]
    assert isinstance(verdict, KnownToBreak if case.name in known else Kept), verdict
