"""Cases for the real Claude Code: the model's answers, and how the CLI is started for each.

Where a case leaves out CLAUDE_CODE_RETRY_WATCHDOG, the CLI would try again for hours with it.
"""

from claude_code_cli import Case, Refused, says

from orchestrator.gateway.script import ToolUse

RESET = 1893456000
PATIENT = ("CLAUDE_CODE_RETRY_WATCHDOG",)
COLOURED = "echo hello; printf '\\033[31mred\\033[0m\\n' >&2"
LOOP = "for i in $(seq 600); do read -t 0.1 < <(:) || :; sleep 0.1; done"


def bash(command: str, **inputs: object) -> ToolUse:
    return ToolUse(name="Bash", input={"command": command, **inputs})


def tool(name: str, **inputs: object) -> ToolUse:
    return ToolUse(name=name, input=inputs)


DONE = says(outcome={"status": "completed", "summary": "did it", "handoff": "nothing special"})
WRONG = says("", tool("StructuredOutput", status="done", summary=3))
PROSE = says('{"status":"completed","summary":"prose"}')
NO = says("no", stop_reason="refusal")
FILE = "/workspace/src/a.py"
FIRST = Case(answers=(DONE,))
INTERRUPTED = Case(answers=(says("", bash(LOOP)),), signal="SIGINT")


def window(status: str, **fields: str) -> dict[str, str]:
    """Headers that say how much of the five-hour window is used."""
    named = {
        "unified-status": status,
        "unified-reset": str(RESET),
        "unified-representative-claim": "five_hour",
        "unified-5h-status": status,
        "unified-5h-reset": str(RESET),
        "unified-5h-utilization": "0.93",
        "unified-7d-status": "allowed",
        "unified-7d-reset": str(RESET + 86_400),
        "unified-7d-utilization": "0.4",
    }
    return {f"anthropic-ratelimit-{name}": value for name, value in (named | fields).items()}


def refused(status: int, message: str, kind: str | None = None) -> Refused:
    return Refused(status=status, message=message, kind=kind)


VERIFY = Refused(
    status=403,
    message="verify your organization",
    details={"error_code": "verification_required", "wording": "verify_now"},
)

CASES: dict[str, Case] = {
    "normal": Case(
        answers=(
            says(
                "I look first.",
                bash("echo hello; printf '\\033[31mred\\033[0m\\n' >&2", description="Say hello"),
            ),
            says("", tool("Write", file_path=FILE, content="x = 1\n"), tool("Read", file_path=FILE)),
            says("", tool("Edit", file_path=FILE, old_string="x = 1", new_string="x = 2")),
            says("", bash("false")),
            says("Done.", outcome=DONE.outcome),
        )
    ),
    "sub-agent": Case(
        answers=(
            says(
                "",
                tool("Task", description="Look around", prompt="look", subagent_type="general-purpose"),
            ),
            DONE,
        ),
        subagent=(says("", bash("echo sub")), says("sub report")),
    ),
    "thinking": Case(answers=(says(thinking="hmm", outcome=DONE.outcome),)),
    "unknown-tool": Case(answers=(says("", tool("Nope", a={"b": "\x1b[31m[/workspace/a.py]\u202e"})), DONE)),
    "background-two-results": Case(
        answers=(
            says(
                "",
                bash(
                    "for i in 1 2 3; do sleep 0.5; done; echo done",
                    description="Wait",
                    run_in_background=True,
                ),
            ),
            DONE,
            says(outcome={"status": "failed", "summary": "second"}),
        ),
        without=("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS",),
    ),
    "session-first": FIRST,
    "session-resumed": Case(answers=(DONE,), earlier=FIRST, resumes=True),
    "session-resumed-after-sigint": Case(answers=(DONE,), earlier=INTERRUPTED, resumes=True),
    "session-unknown": Case(answers=(DONE,), resumes=True),
    "session-writes-lost": Case(answers=(says("", bash("echo one")), DONE), home_bytes=100_000),
    "needs-human": Case(
        answers=(
            says(
                outcome={
                    "status": "needs_human",
                    "summary": "s",
                    "question": "Which?",
                    "options": ["a", "b"],
                    "recommendation": "a",
                }
            ),
        )
    ),
    "needs-human-without-question": Case(answers=(says(outcome={"status": "needs_human", "summary": "s"}),)),
    "invalid-output-repaired": Case(answers=(WRONG, DONE)),
    "invalid-output-always": Case(answers=(WRONG,)),
    "no-structured-output": Case(answers=(PROSE,)),
    "max-turns": Case(answers=(says("", bash("echo 0")), says("", bash("echo 1")), DONE), max_turns=2),
    "sigint-in-a-tool": INTERRUPTED,
    "sigterm-in-a-tool": Case(answers=INTERRUPTED.answers, signal="SIGTERM"),
    "start-bypass-root": Case(answers=(DONE,), user="0:0"),
    "start-proxy-invalid": Case(answers=(DONE,), env={"HTTPS_PROXY": "no address"}),
    "http-401": Case(answers=(refused(401, "invalid x-api-key"),)),
    "http-401-in-mid-session": Case(answers=(says("", bash("echo one")), refused(401, "invalid x-api-key"))),
    "http-403": Case(answers=(refused(403, "not allowed"),)),
    "http-403-verification": Case(answers=(VERIFY,)),
    "http-402": Case(answers=(refused(402, "over budget"),)),
    "http-400-credit-balance": Case(answers=(refused(400, "Your credit balance is too low"),)),
    "usage-limit-oauth": Case(
        answers=(
            Refused(status=429, message="This request would exceed your limit.", headers=window("rejected")),
        ),
        credential="oauth_token",
        without=PATIENT,
    ),
    "usage-warning-oauth": Case(answers=(DONE,), credential="oauth_token", headers=window("allowed_warning")),
    "http-429-retry-after-120": Case(
        answers=(Refused(status=429, message="slow down", headers={"retry-after": "120"}),), without=PATIENT
    ),
    "http-429-once": Case(
        answers=(Refused(status=429, message="slow down", headers={"retry-after": "1"}), DONE)
    ),
    "http-529-always": Case(answers=(refused(529, "Overloaded"),), model=None, without=PATIENT),
    "http-500-once": Case(answers=(refused(500, "Internal server error"), DONE)),
    "http-404-model": Case(answers=(refused(404, "model: claude-haiku-4-5"),)),
    "http-400-prompt-too-long": Case(
        answers=(refused(400, "prompt is too long: 300000 tokens > 200000 maximum"),)
    ),
    "model-refusal": Case(answers=(NO,)),
    "connection-failed": Case(
        env={"ANTHROPIC_UNIX_SOCKET": "/run/nothing.sock", "CLAUDE_CODE_MAX_RETRIES": "1"}, without=PATIENT
    ),
}
