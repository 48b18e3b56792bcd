from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.testing.project import TemporaryProject


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[..., TemporaryProject]]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(TemporaryProject(tmp_path, **options))
