"""How a line of a run is coloured: a property of its fact, not of its words."""

from typing import Literal

from orchestrator.run.facts import (
    AgentText,
    AgentTool,
    AttemptEnded,
    AttemptStarted,
    Body,
    CandidateRefused,
    EndToEndEnded,
    GateEnded,
    LandingRefused,
    LimitSeen,
    Notice,
    QuestionAsked,
    RunEnded,
    RunResumed,
    RunStarted,
    RunWaiting,
    SetupEnded,
    StillRunning,
    StopBegun,
    TaskFinished,
    TaskStarted,
)

Tone = Literal["", "strong", "quiet", "good", "bad", "attention"]
_ENDS: dict[str, Tone] = {
    **{"completed": "good", "imported": "good", "pass": "good", "passed": "good"},
    **{"failed": "bad", "fail": "bad", "timed_out": "bad", "unclear": "bad"},
    **{"unavailable": "attention", "waiting": "attention", "parked": "attention", "needs_human": "attention"},
    **{"interrupted": "attention", "cancelled": "attention"},
}
_CODES: dict[Tone, str] = {
    "": "",
    "strong": "1",
    "quiet": "2",
    "good": "32",
    "bad": "31",
    "attention": "33",
}
"""The numbers of ECMA-48: every terminal with colours has these."""


def tone_of(body: Body) -> Tone:
    """The tone of the lines that a fact has."""
    match body:
        case RunStarted() | RunResumed() | TaskStarted():
            return "strong"
        case AgentText() | AgentTool() | StillRunning() | AttemptStarted():
            return "quiet"
        case QuestionAsked() | Notice() | LimitSeen() | StopBegun() | RunWaiting():
            return "attention"
        case CandidateRefused() | LandingRefused():
            return "bad"
        case AttemptEnded(status=status) | TaskFinished(status=status) | RunEnded(status=status):
            return _ENDS.get(status, "")
        case EndToEndEnded(status=status):
            return _ENDS.get(status, "")
        case GateEnded(verdict=verdict):
            return _ENDS[verdict]
        case SetupEnded(status="failed"):
            return "bad"
        case _:
            return ""


def paint(line: str, tone: Tone) -> str:
    """The line with the escape codes of its tone. The line itself has to be `plain`."""
    return f"\x1b[{_CODES[tone]}m{line}\x1b[0m" if tone and line else line
