"""Facts as the events of `--json`: one object a line, absent values as null."""

from collections.abc import Mapping

import msgspec

from orchestrator.run import facts
from orchestrator.run.facts import Fact, LimitPassed, LimitSeen

SCHEMA = 1

# Other programs rely on what an event shows, so it is less than what the journal keeps. A kind that is not
# named here shows everything.
SHOWN: Mapping[str, tuple[str, ...]] = {
    facts.RunStarted.kind: ("plan", "branch", "base"),
    facts.RunResumed.kind: (),
    facts.SettingsTaken.kind: ("changes",),
    facts.TaskStarted.kind: ("title",),
    facts.AttemptStarted.kind: ("container", "session"),
    facts.ContainerStarted.kind: (),
    facts.StopBegun.kind: ("why", "seen"),
    facts.AgentText.kind: ("text",),
    facts.AgentTool.kind: ("name", "summary"),
    facts.AttemptEnded.kind: ("status", "reason", "exit_code"),
    facts.CandidateMade.kind: ("commit", "changed", "by_hand"),
    facts.GateStarted.kind: ("gate", "command"),
    facts.BaseChecked.kind: (
        *("gate", "command", "before", "exit_code", "evidence", "seconds"),
        *("source", "reused", "age_seconds"),
    ),
    facts.BaseRunEnded.kind: (),
    facts.RunEnded.kind: ("status", "exit_code", "reason", "until", "cause"),
    facts.GateEnded.kind: (
        *("gate", "command", "verdict", "exit_code", "evidence", "seconds"),
        *("source", "before", "reused", "round", "flaky"),
    ),
    facts.CrossChecked.kind: (
        *("corner", "gate", "command", "result"),
        *("exit_code", "evidence", "seconds"),
    ),
    facts.WindowsSeen.kind: ("windows",),
    facts.LimitSeen.kind: ("cause", "until", "status", "model"),
    facts.TaskFinished.kind: ("status", "commit", "verification", "reason", "undeclared_files"),
}


def is_shown(fact: Fact) -> bool:
    """Whether the fact is an event for other programs.

    A status 400 can have many reasons. The gateway notes it, because the agent may say that its reason is the
    bill; until then it is not known to be a limit, and the run appends another fact once it is.
    """
    body = fact.body
    return not isinstance(body, LimitSeen | LimitPassed) or body.effect != "end_if_claimed"


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
    body = msgspec.to_builtins(fact.body)
    shown = SHOWN.get(fact.body.kind, tuple(body))
    return msgspec.json.encode(head | {name: body[name] for name in shown}).decode()
