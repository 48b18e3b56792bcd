"""`doctor` and the start of a run name the limits that are known."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.gateway.accounts import Account, KnownLimit
from orchestrator.preflight.limits import describe_login_end, find_next_morning, limits_finding
from orchestrator.run.facts import LimitWindow
from orchestrator.text import utc_text

EVENING = datetime(2026, 11, 28, 20, tzinfo=UTC)


def limit() -> KnownLimit:
    until = EVENING + timedelta(hours=3)
    return KnownLimit(cause="usage_limit", seen=utc_text(EVENING), until=utc_text(until))


def window(share: float, hours: float = 2) -> LimitWindow:
    resets = utc_text(EVENING + timedelta(hours=hours))
    return LimitWindow(window="five_hour", utilization=share, resets=resets)


@pytest.mark.parametrize(
    ("account", "status", "said"),
    [
        (Account(), "ok", "none are known"),
        (Account(windows=(window(0.4),)), "ok", "40% of the five hour window is used"),
        (Account(windows=(window(0.93),)), "warning", "93% of the five hour window is used"),
        (Account(windows=(window(0.93, -1),)), "ok", "none are known"),
        (Account(limits=(limit(),)), "warning", "usage limit of the credential, ends"),
        (Account(expires=utc_text(EVENING + timedelta(minutes=30))), "warning", "before the morning"),
    ],
    ids=["nothing", "a window", "a high window", "a window that has ended", "a limit", "a login"],
)
def test_limits_are_seen_coming(account: Account, status: str, said: str) -> None:
    found = limits_finding(account, None, EVENING)
    assert (found.status, said in found.detail) == (status, True)
    assert (found.fix is not None) == (status == "warning")


def test_the_morning_is_the_next_one() -> None:
    morning = find_next_morning(EVENING)
    assert timedelta() < morning - EVENING <= timedelta(days=1) and morning.hour == 8
    assert find_next_morning(morning) == morning + timedelta(days=1)


@pytest.mark.parametrize("text", [None, "", "soon", "2026-11-28T21:00:00"])
def test_a_login_without_a_usable_end_is_not_mentioned(text: str | None) -> None:
    assert describe_login_end(Account(expires=text), EVENING) is None


def test_only_a_login_that_ends_before_the_morning_is_mentioned() -> None:
    morning = find_next_morning(EVENING)
    before, after = morning - timedelta(seconds=1), morning + timedelta(seconds=1)
    assert describe_login_end(Account(expires=utc_text(before)), EVENING) is not None
    assert describe_login_end(Account(expires=utc_text(after)), EVENING) is None
    ended = describe_login_end(Account(expires=utc_text(EVENING - timedelta(hours=1))), EVENING)
    assert ended is not None and "has ended" in ended
