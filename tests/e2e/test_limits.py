"""The rows of the table of limits, with the real Claude Code and a provider that answers each of them."""

import time
from datetime import UTC, datetime

import pytest
from e2e_kit import Done, MakeScene, Scene, bash, outcome, plan, script, task
from fake_provider import CANARY, FakeProvider, Refusal, provider

from orchestrator.text import utc_text

pytestmark = pytest.mark.docker

SCRIPT = script(t1=[bash("echo x > made.txt"), outcome()])
UNIFIED = "anthropic-ratelimit-unified"


@pytest.fixture(scope="module")
def limited(new_module_scene: MakeScene) -> Scene:
    """A repository in which each test starts a new run."""
    scene = new_module_scene()
    scene.commit(plan__md=plan(task("1", "test -s made.txt")))
    return scene


def run(
    scene: Scene, fake: FakeProvider, *words: str, command: str = "run", credential: str = CANARY
) -> Done:
    """Each row has a credential of its own: what is known about one holds all runs with it."""
    upstream = ("-c", f"gateway.upstream={fake.url}", "-c", "limits.attempts=1", *words)
    head = ("run", "plan.md", "--new") if command == "run" else (command,)
    return scene.orchestrator(*head, "--json", *upstream, CLAUDE_CODE_OAUTH_TOKEN=credential)


ROWS = {
    "rate limit": (Refusal(429, headers={"retry-after": "3600"}), "rate_limit", 1),
    "away": (Refusal(529), "model_away", 20),
    "refused": (Refusal(401), "credential_refused", 2),
    "payment": (Refusal(402), "billing", 1),
    "credit": (Refusal(400, "Your credit balance is too low to access the API."), "billing", 1),
    "model": (Refusal(404, "model: m-9"), "model_unknown", 2),
}


@pytest.mark.parametrize(("refusal", "cause", "requests"), ROWS.values(), ids=ROWS)
def test_a_limit_parks_the_run(limited: Scene, refusal: Refusal, cause: str, requests: int) -> None:
    with provider(SCRIPT) as fake:
        fake.refusal = refusal
        credential = f"{CANARY}-{refusal.status}"
        done = run(limited, fake, "-c", "limits.outage_seconds=2", credential=credential)
    assert (done.exit_code, done.end["status"], done.end["cause"]) == (4, "parked", cause), done
    assert [event["status"] for event in done.of("attempt_ended")] == ["parked"]
    assert 1 <= len(fake.headers) <= requests


def test_a_usage_limit_parks_until_its_reset_and_the_session_continues(limited: Scene) -> None:
    reset = int(time.time()) + 3600
    headers = {
        f"{UNIFIED}-status": "rejected",
        f"{UNIFIED}-5h-status": "rejected",
        f"{UNIFIED}-5h-reset": str(reset),
        f"{UNIFIED}-reset": str(reset + 86_400),
        "retry-after": "60",
    }
    with provider(SCRIPT) as fake:
        fake.refusal = Refusal(429, headers=headers)
        parked = run(limited, fake)
        until = utc_text(datetime.fromtimestamp(reset, UTC))
        assert (parked.exit_code, parked.end["cause"], parked.end["until"]) == (4, "usage_limit", until), (
            parked
        )
        assert len(fake.headers) == 1
        (seen,) = parked.of("limit_seen")
        assert (seen["cause"], seen["until"], seen["status"], seen["model"]) == (
            *("usage_limit", until, 429, None),
        )
        fake.refusal = None
        done = run(limited, fake, command="resume")
    assert done.exit_code == 0, done
    first, second = limited.status(done.run)["tasks"][0]["attempts"]
    assert (first["status"], second["status"]) == ("parked", "completed")
    assert first["session"] == second["session"]
