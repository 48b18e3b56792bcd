"""The example, carried out once for all tests that examine it."""

from dataclasses import dataclass
from typing import Any

from e2e_kit import Done, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class GreetingRun:
    scene: Scene
    base: str
    owners_before: dict[str, int]
    done: Done
    status: dict[str, Any]
