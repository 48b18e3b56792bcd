"""The checks that a candidate has to pass besides commands in a container: properties of its files."""

from dataclasses import dataclass
from typing import Literal, assert_never

from orchestrator.text import plain

Rule = Literal["tree_refused", "setup_fails", "setup_makes_it"]
Severity = Literal["refusal"]
"""refusal: no command gate can judge the candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupGate:
    """Passes when setup works on the candidate, and the candidate tracks nothing that setup makes.

    The files of a candidate are put over those of the setup image. A tracked `.venv/bin/pytest` would replace
    the installed one and could pass every test. So a candidate must not track a path that setup makes.
    """

    parent: str
    """The parent of the candidate's commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An objection of a gate that runs no command."""

    rule: Rule
    path: str | None
    """Relative to the code folder; None when the finding is about the whole candidate."""
    text: str = ""
    """The message of git, or of setup."""
    severity: Severity = "refusal"


def word_finding(finding: Finding) -> str:
    """The finding as one text, for the journal and for the next attempt's prompt."""
    match finding.rule:
        case "tree_refused":
            return plain(finding.text if finding.path is None else f"{finding.path}: {finding.text}")
        case "setup_fails":
            return plain(f"its dependencies cannot be installed: {finding.text}")
        case "setup_makes_it":
            return plain(
                f"{finding.path} is tracked by git, and setup writes it as well, "
                "so a check could test setup's version of it"
            )
        case _ as never:
            assert_never(never)
