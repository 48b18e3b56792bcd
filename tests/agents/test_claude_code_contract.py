"""The real CLI of the agent image, with a scripted provider, prints what the driver was written for.

`make contract` runs every case, with CLI=VERSION for the CLI of another version. CAPTURE=1 stores the streams
for the tests that need no container. `make test` runs a few cases.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from claude_code_cases import CASES
from claude_code_cli import ROOT, VERSION, run_case
from claude_code_streams import EXPECTED, LONG_TEXTS, in_lines

from orchestrator.agents.claude_code import ClaudeCode
from orchestrator.agents.conformance import parse_lines

pytestmark = pytest.mark.docker

CONTRACT = "CONTRACT" in os.environ
CAPTURE = "CAPTURE" in os.environ
USUAL = ("normal", "session-writes-lost", "start-bypass-root")
PRINTED_VERSION = re.compile(rb'"claude_code_version":"([0-9.]+)"')


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """The path of a socket has at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="ktrdr-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", CASES if CONTRACT else USUAL)
async def test_the_real_cli_prints_these_events(name: str, short_folder: Path) -> None:
    printed = await run_case(CASES[name], short_folder)
    if CAPTURE:
        stored = ROOT / "tests/agents/fixtures" / f"claude-code-{VERSION}" / f"{name}.jsonl"
        stored.parent.mkdir(exist_ok=True)
        stored.write_bytes(b"".join(line + b"\n" for line in printed.lines))
    seen = in_lines(parse_lines(ClaudeCode(), printed.lines))
    if name in LONG_TEXTS:
        assert len(seen) == len(EXPECTED[name]), seen
        seen = [entry[: len(start)] for entry, start in zip(seen, EXPECTED[name], strict=True)]
    assert seen == EXPECTED[name], printed.stderr


async def test_the_cli_is_of_the_version_that_is_asked_for(short_folder: Path) -> None:
    printed = await run_case(CASES["session-first"], short_folder)
    found = PRINTED_VERSION.search(printed.lines[0]) or PRINTED_VERSION.search(printed.lines[1])
    assert found is not None
    asked = os.environ.get("CLI", VERSION)
    assert found[1].decode() == asked or not asked[0].isdigit()
