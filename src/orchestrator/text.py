"""Makes text of agents, plans and repositories safe to print: it cannot control a terminal."""

import re
from datetime import UTC, datetime

# Programs print escape sequences to colour their output, to move the cursor or to set the terminal's title. A
# sequence is removed as a whole: without its ESC, the rest of it (`[92m`) would stay in the text.
#
# Output is often cut at a number of bytes or torn by another program's, so a sequence may have no end. Such a
# sequence ends before the first character that it cannot contain. A title without an end loses its number
# only: if everything after it were removed, an agent could hide the rest of its line. No string runs over the
# start of the next one, so that the search takes linear time for any text.
_CSI = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
_STRING = (
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\n\x90\x98\x9c-\x9f]*(?:\x07|\x9c|\x1b\\)"
    r"|(?:\x1b\]|\x9d)(?:[0-9]{1,4};)?"
)
_SHORT = r"\x1b[ -/]*[0-~]"
_SEQUENCE = re.compile(f"{_CSI}|{_STRING}|{_SHORT}")
_LONGEST_SEQUENCE = 1_000
"""Characters. The title of a window can be longer, and loses its end only."""
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-")
_SAFE_WORD = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
_CONTROLS = frozenset((*range(0x20), *range(0x7F, 0xA0))) - {ord("\n"), ord("\t")}
# Bidirectional marks, overrides and isolates make a terminal show characters in another order than the text
# has, so that a command could look harmless to the user who approves it.
_DIRECTIONS = frozenset((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))


def _visible_symbol(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_REMOVED = dict.fromkeys(_CONTROLS | _DIRECTIONS)
_SHOWN = {code: _visible_symbol(code) for code in _CONTROLS | _DIRECTIONS}


def plain(text: str) -> str:
    """The text without escape sequences, control codes and lone surrogates; newlines and tabs stay."""
    return _SEQUENCE.sub("", text).translate(_REMOVED).encode("utf-8", "replace").decode("utf-8")


def plain_end(text: str, characters: int) -> str:
    """The end of a text, `plain`; only about so many of its characters are read, even if it has gigabytes.

    A cut can be inside an escape sequence. What is left of it has no ESC any more and would stay as text,
    such as `92m`. So a sequence that began before the cut and reaches over it is left out as a whole.
    """
    start = max(len(text) - characters, 0)
    for found in _SEQUENCE.finditer(text, max(start - _LONGEST_SEQUENCE, 0)):
        if found.start() >= start:
            break
        start = max(start, found.end())
    return plain(text[start:])


def one_line(text: str, width: int = 120) -> str:
    """`plain` text on one line of at most `width` characters."""
    folded = " ".join(plain(text).split())
    return folded if len(folded) <= width else folded[: width - 1] + "…"


def first_line(text: str, width: int = 120) -> str:
    """The first line of `plain` text, and how many lines it has when there are more."""
    lines = plain(text).strip().splitlines() or [""]
    return one_line(lines[0], width) + (f" … ({len(lines)} lines)" if len(lines) > 1 else "")


def describe_size(size: int) -> str:
    """A number of bytes with a unit: `0 B`, `12 KB`, `3.4 MB`, `1.2 GB`."""
    value, unit = float(size), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit in ("B", "KB") or value >= 100 else f"{value:.1f} {unit}"


def shell_word(text: str) -> str:
    """The text as one word of a shell command that a user can paste; nothing in it controls a terminal.

    A path may hold a quote, a newline or bytes that are not UTF-8: then its bytes are written as escapes.
    """
    if _SAFE_WORD.fullmatch(text):
        return text
    if text.isprintable() and text:
        return "'" + text.replace("'", "'\"'\"'") + "'"
    escaped = (
        chr(byte) if chr(byte) in _SAFE else f"\\x{byte:02x}"
        for byte in text.encode(errors="surrogateescape")
    )
    return f"$'{''.join(escaped)}'" if text else "''"


def visible(text: str) -> str:
    """The text with control codes replaced by visible symbols (ESC by ␛). Newlines and tabs are kept."""
    return text.translate(_SHOWN)


def utc_text(moment: datetime) -> str:
    """A moment in the format of facts, records and JSON: ISO 8601, UTC, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
