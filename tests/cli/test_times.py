"""Times for the user: the zone of the machine, and durations in the two largest units."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from orchestrator.cli.times import clock_time, duration, moment, parse_moment, seconds_between

AT = "2026-01-31T23:30:05.123Z"


@pytest.fixture(params=["CET-1", "UTC0"])
def zone_of_the_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_a_time_is_that_of_the_machine(zone_of_the_machine: str) -> None:
    ahead = zone_of_the_machine == "CET-1"
    assert clock_time(AT) == ("00:30:05" if ahead else "23:30:05")
    assert moment(AT) == ("2026-02-01 00:30 CET" if ahead else "2026-01-31 23:30 UTC")


def test_a_zone_can_be_given() -> None:
    zone = timezone(timedelta(hours=-3), "ART")
    assert (clock_time(AT, zone), moment(AT, zone)) == ("20:30:05", "2026-01-31 20:30 ART")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10.0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7499, "2 h 4 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_seconds_between_two_facts() -> None:
    assert seconds_between("2026-01-01T00:00:59.500Z", "2026-01-01T00:01:00.000Z") == 0.5


NOW = datetime(2026, 1, 31, 22, 30, tzinfo=UTC)
BERLIN = timezone(timedelta(hours=1), "CET")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("23:45", "2026-01-31T22:45+00:00"),
        ("23:30", "2026-02-01T22:30+00:00"),
        ("7:00", "2026-02-01T06:00+00:00"),
        ("2026-02-01T07:00", "2026-02-01T06:00+00:00"),
        ("2026-02-01T07:00Z", "2026-02-01T07:00+00:00"),
        ("90m", "2026-02-01T00:00+00:00"),
        ("7h30m", "2026-02-01T06:00+00:00"),
        ("1d", "2026-02-01T22:30+00:00"),
        ("45s", "2026-01-31T22:30:45+00:00"),
    ],
)
def test_a_moment_is_the_next_one_that_the_user_can_mean(text: str, moment: str) -> None:
    assert parse_moment(text, NOW, with_durations=True, zone=BERLIN) == datetime.fromisoformat(moment)


@pytest.mark.parametrize(
    "text", ["", "24:00", "12:60", "2026-01-31T23:30", "2020-01-01", "0m", "soon", "h", "-5m"]
)
def test_a_moment_in_the_past_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"past|read|zero|exist"):
        parse_moment(text, NOW, with_durations=True, zone=BERLIN)


@pytest.mark.parametrize(
    ("now", "text", "moment"),
    [
        # On 25 October 2026, 02:30 comes twice: at 00:30 UTC, and at 01:30 UTC.
        ("2026-10-24T22:00", "02:30", "2026-10-25T00:30"),
        ("2026-10-25T00:45", "02:30", "2026-10-25T01:30"),
        ("2026-10-25T00:45", "2026-10-25T02:30", "2026-10-25T01:30"),
        ("2026-10-25T01:45", "02:30", "2026-10-26T01:30"),
        ("2026-10-24T22:00", "07:00", "2026-10-25T06:00"),
        ("2026-10-24T22:00", "9h", "2026-10-25T07:00"),
        # On 29 March 2026, clocks go from 02:00 to 03:00: 02:30 is half an hour after that.
        ("2026-03-29T00:00", "02:30", "2026-03-29T01:30"),
        ("2026-03-28T22:00", "2026-03-29T02:30", "2026-03-29T01:30"),
        ("2026-03-29T00:00", "07:00", "2026-03-29T05:00"),
    ],
)
def test_in_the_nights_in_which_clocks_are_set(
    monkeypatch: pytest.MonkeyPatch, now: str, text: str, moment: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        begun = datetime.fromisoformat(now).replace(tzinfo=UTC)
        found = parse_moment(text, begun, with_durations=True)
    time.tzset()
    assert found == datetime.fromisoformat(moment).replace(tzinfo=UTC)


def test_a_start_is_a_time_and_not_a_duration() -> None:
    with pytest.raises(ValueError, match="read"):
        parse_moment("90m", NOW, with_durations=False)
