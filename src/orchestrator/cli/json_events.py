"""Facts as the events of `--json`: one object a line, absent values as null."""

from typing import Any

import msgspec

from orchestrator.run.facts import (
    AgentText,
    AgentTool,
    AttemptEnded,
    AttemptStarted,
    BaseChecked,
    BaseRunEnded,
    BranchReady,
    CancelWished,
    CandidateMade,
    CandidateRefused,
    EditsCommitted,
    EndToEndEnded,
    Fact,
    GateEnded,
    GateStarted,
    LandingRefused,
    LandingStarted,
    Notice,
    QuestionAnswered,
    QuestionAsked,
    RunEnded,
    RunResumed,
    RunStarted,
    TaskFinished,
    TaskStarted,
    TreeLookedAt,
    TreeSaved,
    UndoStarted,
    WorkUndone,
)

SCHEMA = 1


def event_line(fact: Fact) -> str:
    """One line of JSON, without its newline."""
    head = {
        "schema": SCHEMA,
        "n": fact.n,
        "at": fact.at,
        "run": fact.run,
        "task": fact.task,
        "attempt": fact.attempt,
        "kind": fact.body.kind,
    }
    return msgspec.json.encode(head | _fields(fact)).decode()


def _fields(fact: Fact) -> dict[str, Any]:
    match fact.body:
        case RunStarted() as body:
            return {"plan": body.plan, "branch": body.branch, "base": body.base}
        case RunResumed() | BaseRunEnded():
            return {}
        case TaskStarted() as body:
            return {"title": body.title}
        case AttemptStarted() as body:
            return {"container": body.container, "session": body.session}
        case AttemptEnded() as body:
            return {"status": body.status, "reason": body.reason, "exit_code": body.exit_code}
        case GateStarted() as body:
            return {"gate": body.gate, "command": body.command}
        case GateEnded() as body:
            return {
                "gate": body.gate,
                "command": body.command,
                "verdict": body.verdict,
                "exit_code": body.exit_code,
                "evidence": body.evidence,
                "seconds": body.seconds,
            }
        case CandidateMade() as body:
            return {"commit": body.commit, "changed": body.changed}
        case TaskFinished() as body:
            return {"status": body.status, "commit": body.commit, "reason": body.reason}
        case (
            AgentText()
            | AgentTool()
            | BaseChecked()
            | BranchReady()
            | TreeSaved()
            | CandidateRefused()
            | LandingStarted()
            | Notice()
            | LandingRefused()
            | EditsCommitted()
            | TreeLookedAt()
            | UndoStarted()
            | WorkUndone()
            | CancelWished()
            | QuestionAsked()
            | QuestionAnswered()
            | EndToEndEnded()
            | RunEnded()
        ) as body:
            return dict(msgspec.to_builtins(body))
