"""Any program as the agent: the prompt on its standard input, its outcome in a file."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.agents.base import OUTCOME_FILE, Capabilities, Launch, LaunchRequest
from orchestrator.errors import UsageError
from orchestrator.events import AgentEvent, Text
from orchestrator.text import plain

OUTCOME_BY_FILE = Capabilities(
    resume="ignored",
    model="ignored",
    turn_limit="ignored",
    structured_outcome="translated",
    tool_events="ignored",
)


@dataclass(frozen=True, slots=True)
class PlainText:
    """A parser for programs with output for humans: every line is text."""

    def feed(self, line: bytes) -> tuple[AgentEvent, ...]:
        return (Text(text=plain(line.decode("utf-8", "replace"))),)


@dataclass(frozen=True, slots=True)
class Command:
    name = "command"
    capabilities = OUTCOME_BY_FILE
    needs_model = False
    needs_outcome = False
    takes_command = True
    credentials = ()

    def program(self, request_command: tuple[str, ...]) -> str:
        return _require_program(request_command)[0]

    def launch(self, request: LaunchRequest) -> Launch:
        return Launch(argv=_require_program(request.command), env=attempt_env(request))

    def session_files(self, session: str) -> tuple[str, ...]:  # noqa: ARG002 - the protocol has it
        return ()

    def parser(self) -> PlainText:
        return PlainText()


def attempt_env(request: LaunchRequest) -> Mapping[str, str]:
    """Environment variables that describe the attempt to its program, and name the outcome file."""
    return {
        "ORCHESTRATOR_RUN": request.run,
        "ORCHESTRATOR_TASK": request.task,
        "ORCHESTRATOR_ATTEMPT": str(request.attempt),
        "ORCHESTRATOR_OUTCOME": OUTCOME_FILE,
    }


def _require_program(command: tuple[str, ...]) -> tuple[str, ...]:
    if not command or not command[0]:
        raise UsageError(
            "the agent `command` needs a program to run",
            where="agent.command",
            hint="Give one with --agent-command 'bash agent.sh', or as a list of words in agent.command.",
        )
    return command
