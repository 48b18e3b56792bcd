from collections import Counter
from collections.abc import Iterator

import pytest
from e2e_kit import MakeScene, scenes


@pytest.fixture
def new_scene() -> Iterator[MakeScene]:
    yield from scenes()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of all kills, and of the runs in which every check held."""
    killed: Counter[str] = Counter()
    runs = rounds = 0
    for report in terminalreporter.getreports("passed"):
        found = dict(report.user_properties)
        if "kills" in found:
            killed.update(found["kills"])
            runs, rounds = runs + int(found["runs"]), rounds + 1
    if rounds:
        terminalreporter.section("killed runs")
        for kind, times in killed.items():
            terminalreporter.write_line(f"{times:5}  {kind}")
        terminalreporter.write_line(f"{sum(killed.values()):5}  kills in {runs} runs; lost or repeated: 0")
