"""Times and durations for the user: facts and JSON have UTC, what is printed has the zone of this machine."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

Zone = tzinfo | None
"""None: the zone of this machine, which this module alone looks up."""


def clock_time(at: str, zone: Zone = None) -> str:
    """The time of day of a fact: 14:03:59."""
    return _local(at, zone).strftime("%H:%M:%S")


def moment(at: str, zone: Zone = None) -> str:
    """Day, time and zone: 2026-01-31 14:03 CET."""
    return _local(at, zone).strftime("%Y-%m-%d %H:%M %Z")


def duration(seconds: float) -> str:
    """In the two largest units: 0.5 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 1 h."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    for size, unit, inner_size, inner in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // inner_size
            return f"{whole // size} {unit}" + (f" {rest} {inner}" if rest else "")
    return f"{whole} s"


_DURATION = re.compile(r"(?=\d)(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m(?:in)?)?(?:(\d{1,7})s)?", re.ASCII)
_TIME_OF_DAY = re.compile(r"(\d{1,2}):(\d{2})", re.ASCII)


def parse_moment(text: str, now: datetime, *, with_durations: bool, zone: Zone = None) -> datetime:
    """The moment that a user means: HH:MM (the next one), ISO 8601, or perhaps a duration from now.

    A time without a zone is local. Raises ValueError, which says why, also for a moment in the past.
    """
    if with_durations and (found := _DURATION.fullmatch(text.strip())):
        days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
        length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if not length:
            raise ValueError("the duration is zero")
        return now + length
    if found := _TIME_OF_DAY.fullmatch(text.strip()):
        today = now.astimezone(zone).replace(tzinfo=None)
        try:
            wanted = today.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
        except ValueError:
            raise ValueError("such a time of day does not exist") from None
        next_days = (wanted + timedelta(days=number) for number in range(3))
        return next(each for day in next_days for each in _list_moments(day, zone) if each > now)
    try:
        wanted = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("cannot be read as a time") from None
    moments = _list_moments(wanted, zone) if wanted.tzinfo is None else (wanted.astimezone(UTC),)
    if moments[-1] <= now:
        raise ValueError("the time is in the past")
    return next(each for each in moments if each > now)


def _list_moments(wanted: datetime, zone: Zone) -> tuple[datetime, ...]:
    """The moments at which a local clock shows this time: two in the night in which it is set back.

    Never none: a time that is left out because the clock is set forward is that much later.
    """
    local = (wanted.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    moments = sorted({each.astimezone(UTC) for each in local})
    shown = [each for each in moments if each.astimezone(zone).replace(tzinfo=None, fold=0) == wanted]
    return tuple(shown) or (moments[-1],)


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def _local(at: str, zone: Zone) -> datetime:
    return datetime.fromisoformat(at).astimezone(zone)
