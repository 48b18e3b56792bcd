"""Text of agents, plans and repositories, made safe to show: nothing in it acts on a terminal."""

from datetime import UTC, datetime

_CONTROLS = frozenset((*range(0x20), *range(0x7F, 0xA0))) - {ord("\n"), ord("\t")}
# Bidirectional marks, overrides and isolates can make a terminal show text in another order than it has.
_DIRECTIONS = frozenset((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))


def _sign(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_REMOVED = dict.fromkeys(_CONTROLS | _DIRECTIONS)
_SHOWN = {code: _sign(code) for code in _CONTROLS | _DIRECTIONS}


def plain(text: str) -> str:
    """The text without control codes and lone surrogates; newlines and tabs stay."""
    return text.translate(_REMOVED).encode("utf-8", "replace").decode("utf-8")


def one_line(text: str, width: int = 120) -> str:
    """`plain` text folded onto one line of at most `width` characters."""
    folded = " ".join(plain(text).split())
    return folded if len(folded) <= width else folded[: width - 1] + "…"


def visible(text: str) -> str:
    """The text with its control codes as signs that can be read (ESC as ␛); newlines and tabs stay."""
    return text.translate(_SHOWN)


def utc_text(moment: datetime) -> str:
    """A moment as facts, records and JSON carry it: ISO 8601, UTC, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
