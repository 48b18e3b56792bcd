"""The agent that claims "completed" at once and changes nothing: what every gate must catch."""

from dataclasses import dataclass

from orchestrator.agents.base import Launch, LaunchRequest
from orchestrator.agents.command import OUTCOME_BY_FILE, PlainText, attempt_env

_CLAIM = '{"status": "completed", "summary": "Nothing was done."}'


@dataclass(frozen=True, slots=True)
class Nop:
    name = "nop"
    capabilities = OUTCOME_BY_FILE
    needs_model = False
    needs_outcome = True
    takes_command = False
    credentials = ()

    def program(self, request_command: tuple[str, ...]) -> str:  # noqa: ARG002 - the protocol has it
        return "sh"

    def launch(self, request: LaunchRequest) -> Launch:
        script = f"printf %s '{_CLAIM}' > \"$ORCHESTRATOR_OUTCOME\""
        return Launch(argv=("sh", "-c", script), env=attempt_env(request))

    def session_files(self, session: str) -> tuple[str, ...]:  # noqa: ARG002 - the protocol has it
        return ()

    def parser(self) -> PlainText:
        return PlainText()
