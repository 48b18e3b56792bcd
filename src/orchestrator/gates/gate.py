"""What a candidate has to pass: commands in a fresh container, and properties that need no command."""

from dataclasses import dataclass
from typing import Literal, assert_never

from orchestrator.gates.command_gate import CommandGate
from orchestrator.text import plain

Rule = Literal["tree_refused", "setup_fails", "setup_makes_it"]
Severity = Literal["refusal"]
"""refusal: no gate can be asked about the candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupGate:
    """Passes when setup works on the candidate, and the candidate tracks nothing that setup makes.

    A tracked `.venv/bin/pytest` would take the place of the one that setup installed, and pass every test.
    """

    parent: str
    """The commit the candidate stands on."""


Gate = CommandGate | SetupGate


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a gate that runs no command has against a candidate."""

    rule: Rule
    path: str | None
    """Relative to the code folder; None where it is about all of it."""
    text: str = ""
    """The words of whoever found it."""
    severity: Severity = "refusal"


def worded(finding: Finding) -> str:
    """The finding as it stands in the journal, and in the next attempt's prompt."""
    match finding.rule:
        case "tree_refused":
            return plain(finding.text if finding.path is None else f"{finding.path}: {finding.text}")
        case "setup_fails":
            return plain(f"its dependencies cannot be installed: {finding.text}")
        case "setup_makes_it":
            return plain(f"{finding.path} is tracked, and setup makes it: no check could tell the two apart")
        case _ as never:
            assert_never(never)
