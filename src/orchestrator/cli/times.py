"""Times and durations for the user: facts and JSON have UTC, what is printed has the zone of this machine."""

from datetime import datetime, tzinfo

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


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def _local(at: str, zone: Zone) -> datetime:
    return datetime.fromisoformat(at).astimezone(zone)
