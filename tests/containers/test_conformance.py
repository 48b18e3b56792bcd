"""The engine on this machine keeps every promise that the rest of the program relies on."""

from pathlib import Path

import pytest

from orchestrator.containers.conformance import CASES, KNOWN_FAILURES, Case, Kept, KnownToBreak, Probe, judge
from orchestrator.containers.engine import EngineClient

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
async def test_case(case: Case, engine: EngineClient, image: str, code_folder: Path) -> None:
    verdict = await judge(case, Probe(engine=engine, image=image, folder=code_folder))
    expected = KnownToBreak if case.name in KNOWN_FAILURES[engine.name] else Kept
    assert isinstance(verdict, expected), verdict
