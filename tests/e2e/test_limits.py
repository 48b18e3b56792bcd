"""The rows of the table of limits, with the real Claude Code and a provider that answers each of them.

One run meets one limit after the other, and is resumed by hand each time. So each row also shows that the
session continues and that no attempt is charged: `limits.attempts` is 1. `make soak` has all rows.
"""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from e2e_kit import PATIENCE, Done, MakeScene, Scene, bash, outcome, plan, script, task, waiting_for
from fake_provider import CANARY, FakeProvider, Refusal, provider

from orchestrator.text import utc_text

pytestmark = pytest.mark.docker

SCRIPT = script(t1=[bash("echo x > made.txt"), outcome()])
UNIFIED = "anthropic-ratelimit-unified"
NOWHERE = "http://127.0.0.1:9"
"""No program listens there."""
ALL = os.environ.get("LIMITS") == "all"


@dataclass(frozen=True, kw_only=True)
class Row:
    refusal: Refusal | None
    """None: the provider cannot be reached."""
    cause: str
    requests: int
    """The most that may reach the provider until the run is parked."""
    seconds: float = 10.0
    """The longest time from the first sign to the end of the attempt."""
    until: int | None = None
    """Seconds from now."""
    soak: bool = False


def usage_limit(reset: int) -> Mapping[str, str]:
    return {
        f"{UNIFIED}-status": "rejected",
        f"{UNIFIED}-5h-status": "rejected",
        f"{UNIFIED}-5h-reset": str(reset),
        f"{UNIFIED}-5h-utilization": "1.0",
        f"{UNIFIED}-reset": str(reset + 86_400),
        "retry-after": "60",
    }


SHORT = {"retry-after": "1"}
ROWS = {
    "rate limit": Row(refusal=Refusal(429, headers={"retry-after": "3600"}), cause="rate_limit", requests=1),
    "busy": Row(refusal=Refusal(429, headers=SHORT), cause="model_away", requests=8),
    "busy, no header": Row(refusal=Refusal(429), cause="model_away", requests=8, soak=True),
    "overloaded": Row(refusal=Refusal(529), cause="model_away", requests=8, soak=True),
    "broken": Row(refusal=Refusal(500), cause="model_away", requests=8),
    "no connection": Row(refusal=None, cause="model_away", requests=0),
    # The CLI reads its token again and asks once more before it ends.
    "refused": Row(refusal=Refusal(401), cause="credential_refused", requests=2, soak=True),
    "forbidden": Row(refusal=Refusal(403), cause="credential_refused", requests=2),
    "payment": Row(refusal=Refusal(402), cause="billing", requests=1, soak=True),
    "credit": Row(
        refusal=Refusal(400, "Your credit balance is too low to access the API."), cause="billing", requests=1
    ),
    "no credits": Row(
        refusal=Refusal(
            429,
            headers={f"{UNIFIED}-status": "rejected", "retry-after": "3600"},
            details={"error_code": "credits_required"},
        ),
        cause="billing",
        requests=1,
        soak=True,
    ),
    # The CLI asks once more for a model that does not exist.
    "model": Row(refusal=Refusal(404, "model: m-9"), cause="model_unknown", requests=2, soak=True),
}


@dataclass
class Chain:
    """One run, and the provider that it talks to."""

    scene: Scene
    fake: FakeProvider
    run: str = ""
    sessions: set[str] = field(default_factory=set)

    def words(self, *words: str, upstream: str | None = None) -> list[str]:
        settings = (
            f"gateway.upstream={upstream or self.fake.url}",
            *("limits.attempts=1", "limits.outage_seconds=2"),
        )
        return [*words, "--json", *(word for setting in settings for word in ("-c", setting))]

    def command(self, *words: str, upstream: str | None = None) -> Done:
        given = self.words(*words, upstream=upstream)
        return self.scene.orchestrator(*given, CLAUDE_CODE_OAUTH_TOKEN=CANARY)

    def meet(self, refusal: Refusal | None, *words: str) -> Done:
        """Run or resume until the refusal ends it."""
        self.fake.refusal = refusal
        self.fake.headers.clear()
        return self.command(*words, upstream=NOWHERE if refusal is None else None)

    def list_known(self) -> list[str]:
        """The causes of the limits that all runs know."""
        (file,) = (self.scene.state / "accounts").glob("*.json")
        return [limit["cause"] for limit in json.loads(file.read_text())["limits"]]

    def check(self, done: Done, cause: str, requests: int, seconds: float) -> None:
        assert (done.exit_code, done.end["status"], done.end["cause"]) == (4, "parked", cause), done
        (seen,), (ended,), (started,) = (
            done.of(kind) for kind in ("limit_seen", "attempt_ended", "attempt_started")
        )
        assert (seen["cause"], ended["status"]) == (cause, "parked")
        took = [datetime.fromisoformat(event["at"]) for event in (seen, ended)]
        assert (took[1] - took[0]).total_seconds() < seconds
        assert min(1, requests) <= len(self.fake.headers) <= requests
        self.run = done.run
        self.sessions.add(started["session"])
        print(f"{cause}: {len(self.fake.headers)} requests, {(took[1] - took[0]).total_seconds():.1f} s")


def test_each_limit_parks_the_run_and_costs_no_attempt(new_scene: MakeScene) -> None:
    scene = new_scene()
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), other__md=plan(task("1", "true"), branch="o"))
    with provider(SCRIPT) as fake:
        chain = Chain(scene, fake)
        reset = int(time.time()) + 3600
        until = utc_text(datetime.fromtimestamp(reset, UTC))
        parked = chain.meet(Refusal(429, headers=usage_limit(reset)), "run", "plan.md")
        chain.check(parked, "usage_limit", 1, 10)
        (seen,) = parked.of("limit_seen")
        assert parked.end["until"] == seen["until"] == until
        assert (seen["status"], seen["model"]) == (429, None)
        (used,) = scene.status(chain.run)["windows"]
        assert used == {"window": "five_hour", "utilization": 1.0, "resets": until}

        other = chain.meet(None, "run", "other.md")
        assert (other.exit_code, other.end["cause"], other.end["until"]) == (4, "usage_limit", until), other
        assert not other.of("attempt_started") and not other.of("gate_started")
        assert scene.orchestrator("cancel", other.run).exit_code == 0
        assert chain.list_known() == ["usage_limit"]

        for row in ROWS.values():
            if ALL or not row.soak:
                chain.check(
                    chain.meet(row.refusal, "resume", chain.run), row.cause, row.requests, row.seconds
                )
        fake.refusal = None
        done = chain.command("resume", chain.run)
        assert done.exit_code == 0, done
        assert chain.list_known() == [], "the first success clears what was known"
        attempts = scene.status(chain.run)["tasks"][0]["attempts"]
        assert [each["status"] for each in attempts] == ["parked"] * (len(attempts) - 1) + ["completed"]
        assert {each["session"] for each in attempts} == chain.sessions and len(chain.sessions) == 1


@pytest.mark.skipif(not ALL, reason="make soak")
def test_a_limit_that_is_met_while_no_owner_lives(new_scene: MakeScene) -> None:
    scene = new_scene()
    scene.commit(plan__md=plan(task("1", "test -s made.txt")))
    steps = [bash(waiting_for("go")), bash("echo x > made.txt"), outcome()]
    with provider(script(t1=steps)) as fake:
        chain = Chain(scene, fake)
        with scene.start(*chain.words("run", "plan.md"), CLAUDE_CODE_OAUTH_TOKEN=CANARY) as owner:
            run = owner.until("agent_tool")["run"]
            owner.send(signal.SIGKILL)
        reset = int(time.time()) + 3600
        fake.refusal = Refusal(429, headers=usage_limit(reset))
        scene.write("go", "")
        deadline = time.monotonic() + PATIENCE
        while not count_limits(scene):
            assert time.monotonic() < deadline, "the gateway has recorded nothing"
            time.sleep(0.1)
        assert len(scene.containers()) == 1, "the agent waits for the end of the limit"
        fake.refusal = None
        done = chain.command("resume", run)
    assert done.exit_code == 0, done
    first, second = scene.status(run)["tasks"][0]["attempts"]
    assert (first["status"], second["status"]) == ("parked", "completed")
    assert first["session"] == second["session"]
    assert chain.list_known() == [] and not scene.containers()


def count_limits(scene: Scene) -> int:
    with closing(sqlite3.connect(scene.state / "journal.sqlite")) as journal:
        (count,) = journal.execute("SELECT count(*) FROM facts WHERE kind = 'limit_seen'").fetchone()
        found: int = count
        return found
