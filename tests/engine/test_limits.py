"""A run and the limits that the gateway has seen, also while the run has no owner."""

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from limit_kit import KEY, LimitedProject, ModelAgent, claims_limit, kill_at, known_limit, limited, sees

from orchestrator.cli.json_events import event_line, is_shown
from orchestrator.commands.request import RunRequest, StartOptions
from orchestrator.commands.run import run
from orchestrator.events import AgentEvent, Finished
from orchestrator.gateway.access import Credential
from orchestrator.gateway.accounts import Account
from orchestrator.run.facts import (
    AttemptEnded,
    AttemptStarted,
    BaseRunEnded,
    Fact,
    LimitSeen,
    LimitWindow,
    Notice,
    RunEnded,
    RunWaiting,
    WindowsSeen,
)
from orchestrator.run.report import RunReport, run_json
from orchestrator.run.state import fold
from orchestrator.testing.agent import (
    ScriptedAgent,
    ScriptedParser,
    Step,
    exits,
    hits_limit,
    says,
    waits,
    works,
    writes,
)
from orchestrator.testing.clock import START
from orchestrator.testing.engine import FakeEngine
from orchestrator.testing.processes import Process
from orchestrator.testing.project import PLAN, TemporaryProject

__all__ = ["limited"]

MakeProject = Callable[..., LimitedProject]
UNTIL = "2026-01-01T12:05:00.000Z"
STOP = LimitSeen(cause="usage_limit", effect="stop", until=UNTIL, status=429)
DENIED = LimitSeen(cause="credential_refused", effect="end", status=401)
BUSY = LimitSeen(cause="model_away", effect="outage", status=429)
ODD = LimitSeen(cause="billing", effect="end_if_claimed", status=400)
ACCOUNT = Credential(kind="api_key", value=KEY)


def bodies(made: LimitedProject, run: str, kind: type[Any]) -> list[Any]:
    return [fact.body for fact in made.project.facts(run) if isinstance(fact.body, kind)]


def the(made: list[LimitedProject]) -> Callable[[], LimitedProject]:
    return lambda: made[-1]


def test_a_limit_stops_a_living_agent_within_a_second(
    limited: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[LimitedProject] = []
    stopped: list[float] = []
    send = FakeEngine.signal

    async def watched(engine: FakeEngine, container: str, name: str) -> None:
        stopped.append(made[0].project.clock.monotonic())
        await send(engine, container, name)

    seen: list[float] = []

    def note_time(process: Process) -> None:
        seen.append(process.clock.monotonic())

    monkeypatch.setattr(FakeEngine, "signal", watched)
    # The odd times lie between two polls of the journal.
    script = (writes("a.txt", "half"), waits(10.3), sees(the(made), STOP), note_time, waits(86_400))
    made.append(limited({("1", 1): script}))
    report = made[0].project.run()
    assert 0 < stopped[0] - seen[0] <= 0.5
    end = report.state.end
    assert end is not None and (end.exit_code, end.cause, end.until) == (4, "usage_limit", UNTIL)
    (attempt,) = report.state.tasks["1"].attempts
    assert attempt.end is not None and attempt.end.status == "parked" and attempt.saved is not None
    resumed = made[0].project.resume()
    assert resumed.status == "completed", resumed.reason
    assert made[0].project.agent.attempts[1].resumed, "the session continues"


def test_a_new_run_parks_before_its_first_container(limited: MakeProject) -> None:
    made = limited()
    limit = known_limit(cause="rate_limit", until=UNTIL)
    made.accounts.update(ACCOUNT, lambda _: Account(limits=(limit,)))
    report = made.project.run()
    end = report.state.end
    assert end is not None and (end.exit_code, end.cause, end.until) == (4, "rate_limit", UNTIL)
    assert "run r0" in (end.reason or "")
    assert not bodies(made, report.run, BaseRunEnded) and not bodies(made, report.run, AttemptStarted)
    assert not made.project.engine.specs and not made.gateway.opened
    resumed = made.project.resume()
    assert resumed.status == "completed", "a user who resumes by hand wants to try"


def test_a_known_limit_without_an_end_has_no_time(limited: MakeProject) -> None:
    made = limited()
    made.accounts.update(ACCOUNT, lambda _: Account(limits=(known_limit(),)))
    end = made.project.run().state.end
    assert end is not None and (end.exit_code, end.cause, end.until) == (4, "usage_limit", None)


def starts(made: LimitedProject, run: str, kind: type[Any] = AttemptStarted) -> list[str]:
    return [fact.at for fact in made.project.facts(run) if isinstance(fact.body, kind)]


def test_a_run_that_waits_begins_once_a_known_limit_has_ended(limited: MakeProject) -> None:
    made = limited()
    made.accounts.update(ACCOUNT, lambda _: Account(limits=(known_limit(until=UNTIL),)))
    report = made.project.run(wait=True)
    assert report.status == "completed"
    (waiting,) = bodies(made, report.run, RunWaiting)
    assert (waiting.cause, waiting.until[:16]) == ("usage_limit", UNTIL[:16])
    assert starts(made, report.run, BaseRunEnded)[0] >= UNTIL


def test_a_resumed_run_that_waits_does_not_try_before(limited: MakeProject) -> None:
    made = limited()
    made.accounts.update(ACCOUNT, lambda _: Account(limits=(known_limit(until=UNTIL),)))
    made.project.run()
    report = made.project.resume(wait=True)
    assert report.status == "completed" and starts(made, report.run)[0] >= UNTIL


def test_a_resumed_run_that_waits_tries_where_no_limit_is_known(limited: MakeProject) -> None:
    made: list[LimitedProject] = []
    made.append(limited({("1", 1): (sees(the(made), STOP), waits(86_400))}))
    made[0].project.run()
    report = made[0].project.resume(wait=True)
    assert report.status == "completed" and starts(made[0], report.run)[1] < UNTIL


def test_without_a_credential_a_resumed_run_waits_for_its_own_limit(tmp_path: Path) -> None:
    until = datetime(2026, 1, 1, 12, 5, tzinfo=UTC)
    agent = ScriptedAgent({("1", 1): (hits_limit("usage_limit", until.timestamp()),)})
    with TemporaryProject(tmp_path, agent=agent) as project:
        assert project.run().status == "parked"
        report = project.resume(wait=True)
        begun = [fact.at for fact in project.facts(report.run) if isinstance(fact.body, AttemptStarted)]
        assert report.status == "completed" and begun[1] >= UNTIL


def test_work_that_begins_later_counts_the_limits_of_that_time(limited: MakeProject) -> None:
    made = limited()
    made.accounts.update(ACCOUNT, lambda _: Account(limits=(known_limit(until=UNTIL),)))
    report = made.project.run(at=datetime(2026, 1, 1, 12, 2, tzinfo=UTC))
    end = report.state.end
    assert end is not None and (end.cause, end.until) == ("usage_limit", UNTIL)
    assert [waiting.cause for waiting in bodies(made, report.run, RunWaiting)] == ["scheduled"]
    later = limited()
    later.accounts.update(ACCOUNT, lambda _: Account(limits=(known_limit(until=UNTIL),)))
    assert later.project.run(at=datetime(2026, 1, 1, 12, 6, tzinfo=UTC)).status == "completed"


def test_what_does_not_limit_a_run_does_not_park_it(limited: MakeProject) -> None:
    made = limited()
    others = (
        known_limit(until=UNTIL, model="m-1", chosen="m-1"),
        known_limit(cause="rate_limit", until="2026-01-01T11:59:59.000Z"),
        known_limit(seen="2025-12-31T12:00:00.000Z"),
    )
    made.accounts.update(ACCOUNT, lambda _: Account(limits=others))
    other = Credential(kind="api_key", value="sk-canary-2")
    made.accounts.update(other, lambda _: Account(limits=(known_limit(until=UNTIL),)))
    assert made.project.run().status == "completed"


def test_a_base_run_needs_no_credential_and_no_limit_holds_it(limited: MakeProject) -> None:
    made = limited()
    made.accounts.update(ACCOUNT, lambda _: Account(limits=(known_limit(until=UNTIL),)))
    assert made.project.run(only_base=True).status == "completed"


def key_file(made: LimitedProject, key: str) -> Path:
    path = made.project.folder.parent / "key"
    path.write_text(key)
    path.chmod(0o600)
    return path


def use_key_file(made: LimitedProject, key: str) -> None:
    del made.project.environ["ANTHROPIC_API_KEY"]
    made.project.environ["ANTHROPIC_API_KEY_FILE"] = str(key_file(made, key))


def test_a_key_that_was_replaced_while_an_attempt_lived_is_used_by_the_next(limited: MakeProject) -> None:
    made: list[LimitedProject] = []

    def replace_key(_process: Process) -> None:
        key_file(made[0], "sk-canary-new")

    script = (writes("a.txt", "half"), replace_key, sees(the(made), DENIED), exits(1))
    made.append(limited({("1", 1): script}))
    use_key_file(made[0], "sk-canary-old")
    report = made[0].project.run()
    assert report.status == "completed", report.reason
    assert made[0].gateway.keys == ["sk-canary-old", "sk-canary-new"]
    assert made[0].project.agent.attempts[1].resumed
    ends = [end.status for end in bodies(made[0], report.run, AttemptEnded)]
    assert ends == ["interrupted", "completed"], "limits.attempts is 1: the first was not charged"
    (notice,) = [each.text for each in bodies(made[0], report.run, Notice) if "refused" in each.text]
    assert "ANTHROPIC_API_KEY_FILE" in notice and "canary" not in notice


@pytest.mark.parametrize("then", ["the same", "a file that others may open", "nothing"])
def test_a_source_without_another_key_parks_the_run(limited: MakeProject, then: str) -> None:
    made: list[LimitedProject] = []

    def change(_process: Process) -> None:
        path = made[0].project.folder.parent / "key"
        match then:
            case "nothing":
                path.unlink()
            case "a file that others may open":
                path.write_text("sk-canary-new")
                path.chmod(0o644)

    made.append(limited({("1", 1): (change, sees(the(made), DENIED), exits(1))}))
    use_key_file(made[0], "sk-canary-old")
    report = made[0].project.run()
    end = report.state.end
    assert end is not None and (end.exit_code, end.cause) == (4, "credential_refused")
    assert made[0].gateway.keys == ["sk-canary-old"]


def test_a_source_that_gives_refused_keys_again_and_again_parks_the_run(limited: MakeProject) -> None:
    made: list[LimitedProject] = []
    numbers = iter(range(100))

    def replace_key(_process: Process) -> None:
        key_file(made[0], f"sk-canary-{next(numbers)}")

    script = (replace_key, sees(the(made), DENIED), exits(1))
    made.append(limited({("1", number): script for number in range(1, 20)}))
    use_key_file(made[0], "sk-canary-old")
    end = made[0].project.run().state.end
    assert end is not None and (end.exit_code, end.cause) == (4, "interrupted_often")
    assert len(made[0].gateway.keys) == 3


def test_a_status_400_is_shown_as_a_limit_only_with_the_agents_word(limited: MakeProject) -> None:
    shown: list[Fact] = []
    made: list[LimitedProject] = []
    script = (sees(the(made), ODD), claims_limit("billing"), exits(1))
    made.append(limited({("1", 1): script}))
    end = made[0].project.run(listeners=(shown.append,)).state.end
    assert end is not None and (end.exit_code, end.cause) == (4, "billing")
    seen = [event_line(fact) for fact in shown if is_shown(fact) and isinstance(fact.body, LimitSeen)]
    assert len(seen) == 1 and '"billing"' in seen[0] and '"status":400' in seen[0]

    shown.clear()
    made.append(limited({("1", 1): (sees(the(made), ODD), exits(1))}))
    assert made[1].project.run(listeners=(shown.append,)).status == "failed"
    assert not [fact for fact in shown if is_shown(fact) and isinstance(fact.body, LimitSeen)]


def test_the_word_of_an_agent_alone_parks_nothing_where_a_gateway_serves_it(limited: MakeProject) -> None:
    made = limited({("1", 1): (claims_limit("usage_limit"), exits(1))})
    report = made.project.run()
    assert report.status == "failed"
    (notice,) = [each.text for each in bodies(made, report.run, Notice) if "limit" in each.text]
    assert "usage limit" in notice and "does not count" in notice


def test_a_limit_after_the_end_of_an_attempt_is_folded_and_parks_nothing(limited: MakeProject) -> None:
    made = limited({("1", 1): (exits(1),)})
    report = made.project.run()
    assert report.status == "failed"
    made.project.do(made.see(STOP, report.run))
    made.project.do(made.see(WindowsSeen(windows=(WINDOW,)), report.run))
    state = fold(made.project.facts(report.run))
    assert state.tasks["1"].attempts[0].limits == (STOP,) and state.windows == (WINDOW,)
    assert state.end is not None and state.end.status == "failed"
    assert run_json(state, None)["windows"] == [{"window": "five_hour", "utilization": 0.93, "resets": UNTIL}]
    assert made.project.resume().status == "completed"


WINDOW = LimitWindow(window="five_hour", utilization=0.93, resets=UNTIL)


def loses_engine(made: list[LimitedProject]) -> Step:
    """The owner parks the run without an end of the attempt, as if it had been killed."""

    def step(_process: Process) -> None:
        made[0].project.engine.is_away = True

    return step


def make_orphan(
    limited: MakeProject, made: list[LimitedProject], *later: Step, key: str | None = None
) -> str:
    """Add a project whose first attempt has lost its owner before these steps, and give the run."""
    first = (writes("a.txt", "half"), loses_engine(made), says("still here"), *later)
    made.append(limited({("1", 1): first}))
    if key is not None:
        use_key_file(made[0], key)
    lost = made[0].project.run()
    assert lost.status == "parked" and lost.state.tasks["1"].attempts[0].end is None
    made[0].project.engine.is_away = False
    return lost.run


@pytest.mark.parametrize("waits_for_limits", [False, True])
@pytest.mark.parametrize("agent", ["tries again and again", "has ended"])
def test_a_limit_that_is_met_while_no_owner_lives_costs_no_attempt(
    limited: MakeProject, agent: str, waits_for_limits: bool
) -> None:
    later = (waits(86_400),) if agent == "tries again and again" else (exits(1),)
    made: list[LimitedProject] = []
    run = make_orphan(limited, made, *later)
    project = made[0].project
    project.do(made[0].see(STOP, run))
    project.do(project.clock.sleep(1))
    made[0].accounts.update(ACCOUNT, lambda _: Account(limits=(known_limit(until=UNTIL),)))
    report = project.resume(wait=waits_for_limits)
    assert report.status == "completed", report.reason
    first = report.state.tasks["1"].attempts[0]
    assert first.end is not None and first.saved is not None
    assert (first.end.status, first.end.cause, first.end.until) == ("parked", "usage_limit", UNTIL)
    assert project.agent.attempts[1].resumed
    assert (starts(made[0], run)[1] >= UNTIL) == waits_for_limits
    assert not project.do(project.engine.list({}))


def test_an_adopted_agent_is_stopped_by_a_limit(limited: MakeProject) -> None:
    made: list[LimitedProject] = []
    make_orphan(limited, made, waits(600), sees(the(made), STOP), waits(86_400))
    project = made[0].project
    report = project.resume()
    end = report.state.end
    assert end is not None and (end.exit_code, end.cause, end.until) == (4, "usage_limit", UNTIL)
    (attempt,) = report.state.tasks["1"].attempts
    assert attempt.adoptions == 1 and attempt.stop is not None and attempt.stop.why == "limit"
    assert project.resume().status == "completed"


@pytest.mark.parametrize("replaced", [True, False])
def test_a_key_that_is_refused_while_no_owner_lives_is_asked_for_again(
    limited: MakeProject, replaced: bool
) -> None:
    made: list[LimitedProject] = []
    run = make_orphan(limited, made, exits(1), key="sk-canary-old")
    project = made[0].project
    project.do(made[0].see(DENIED, run))
    project.do(project.clock.sleep(1))
    if replaced:
        key_file(made[0], "sk-canary-new")
    report = project.resume()
    assert report.status == "completed", "a user who resumes by hand wants to try"
    ends = [end.status for end in bodies(made[0], run, AttemptEnded)]
    assert ends == ["interrupted" if replaced else "parked", "completed"]
    assert made[0].gateway.keys == ["sk-canary-old", f"sk-canary-{'new' if replaced else 'old'}"]


@pytest.mark.parametrize("moment", ["limit_seen", "stop_begun"])
def test_an_owner_that_is_killed_during_a_limit_loses_nothing(
    limited: MakeProject, tmp_path: Path, moment: str
) -> None:
    made: list[LimitedProject] = []
    made.append(limited({("1", 1): (writes("a.txt", "half"), sees(the(made), STOP), waits(86_400))}))
    project = made[0].project
    kill_at(project, tmp_path / "containers", moment)
    (run,) = [path.name for path in (project.state / "runs").iterdir()]
    assert "limit_seen" in [fact.body.kind for fact in project.facts(run)]
    report = project.resume()
    assert report.status == "completed", report.reason
    first, second = report.state.tasks["1"].attempts
    assert first.end is not None and (first.end.status, first.end.until) == ("parked", UNTIL)
    assert first.start.session == second.start.session
    assert not project.do(project.engine.list({}))


@pytest.mark.parametrize("order", ["limit first", "signal first"])
def test_a_limit_and_a_signal_at_once_end_the_attempt_once(limited: MakeProject, order: str) -> None:
    made: list[LimitedProject] = []

    def interrupt(_process: Process) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    steps = (sees(the(made), STOP), interrupt)
    both = steps if order == "limit first" else steps[::-1]
    made.append(limited({("1", 1): (writes("a.txt", "half"), *both, waits(86_400))}))
    report = made[0].project.run()
    assert report.exit_code == 130
    (end,) = bodies(made[0], report.run, AttemptEnded)
    assert end.status in ("interrupted", "parked")
    assert len(bodies(made[0], report.run, RunEnded)) == 1
    assert made[0].project.resume().status == "completed", "limits.attempts is 1: it was not charged"


class Expiring(ModelAgent):
    """Says in its last line when its login ends, as Claude Code does."""

    def parser(self) -> Any:
        return self

    def feed(self, line: bytes) -> tuple[AgentEvent, ...]:
        if line == b"done":
            return (Finished(is_error=False, credential_expires=UNTIL),)
        return ScriptedParser().feed(line)


def test_the_end_of_a_login_is_a_notice_of_the_next_run(limited: MakeProject) -> None:
    made = limited({("1", 1): (*works("1"), says("done"))}, agent=Expiring)
    first = made.project.run()
    assert made.accounts.read(ACCOUNT).expires == UNTIL
    second = made.project.run(new=True)
    texts = [[each.text for each in bodies(made, run.run, Notice)] for run in (first, second)]
    assert not any("before the morning" in text for text in texts[0])
    assert any("before the morning" in text for text in texts[1])


def test_two_runs_on_one_account_know_the_same(limited: MakeProject) -> None:
    made: list[LimitedProject] = []
    made.append(limited({("1", 1): (sees(the(made), STOP), waits(86_400))}))
    made[0].accounts.update(ACCOUNT, lambda known: known.add_limit(known_limit(until=UNTIL), START))
    made.append(limited())
    made[1].project.environ["XDG_STATE_HOME"] = made[0].project.environ["XDG_STATE_HOME"]
    end = made[1].project.run().state.end
    assert end is not None and (end.cause, end.until) == ("usage_limit", UNTIL)


def test_an_hour_of_busy_answers_costs_no_attempt(limited: MakeProject) -> None:
    made: list[LimitedProject] = []
    busy = (waits(600), sees(the(made), BUSY), waits(86_400))
    made.append(limited({("1", number): busy for number in range(1, 5)}))
    begun = made[0].project.clock.now()
    report = made[0].project.run(wait=True)
    assert report.status == "completed", report.reason
    assert (made[0].project.clock.now() - begun).total_seconds() > 3300
    waited = bodies(made[0], report.run, RunWaiting)
    assert [each.cause for each in waited] == ["model_away"] * 4
    attempts = report.state.tasks["1"].attempts
    assert [each.end.status for each in attempts if each.end] == ["parked"] * 4 + ["completed"]
    assert {each.start.session for each in attempts} == {attempts[0].start.session}


def test_two_living_runs_on_one_account_both_wait_and_both_complete(limited: MakeProject) -> None:
    made: list[LimitedProject] = []
    spent = (sees(lambda: made[0], STOP), waits(86_400))
    made.append(limited({("1", 1): (waits(5), *spent)}))
    made.append(limited({("1", 1): (waits(20), *spent)}))
    first, second = (each.project for each in made)
    second.environ["XDG_STATE_HOME"] = first.environ["XDG_STATE_HOME"]
    second.clock = second.engine._clock = first.clock
    requests = [RunRequest(plan=PLAN, options=StartOptions(agent="command", wait=True))] * 2

    async def run_both() -> list[RunReport]:
        hosts = (first.host, second.host)
        return await asyncio.gather(*(run(host, each) for host, each in zip(hosts, requests, strict=True)))

    reports = first.do(run_both())
    assert [report.status for report in reports] == ["completed"] * 2
    for report in reports:
        (waiting,) = bodies(made[0], report.run, RunWaiting)
        assert (waiting.cause, waiting.until) == ("usage_limit", UNTIL)
        assert starts(made[0], report.run)[1] >= UNTIL


@pytest.mark.parametrize("then", ["another key", "no key"])
def test_work_that_begins_later_uses_the_key_of_that_time(limited: MakeProject, then: str) -> None:
    made = limited()
    use_key_file(made, "sk-canary-old")

    def change(fact: Fact) -> None:
        if isinstance(fact.body, RunWaiting):
            path = key_file(made, "sk-canary-new")
            if then == "no key":
                path.unlink()

    at = datetime(2026, 1, 1, 12, 9, tzinfo=UTC)
    report = made.project.run(at=at, listeners=(change,))
    if then == "no key":
        assert report.exit_code == 4 and "ANTHROPIC_API_KEY_FILE" in str(report.reason)
    else:
        assert report.status == "completed", report.reason
    assert made.gateway.keys == ([] if then == "no key" else ["sk-canary-new"])
