"""Text that fits a screen: measured, shortened and folded by the columns that a terminal needs for it."""

from collections.abc import Iterator
from typing import NamedTuple

from orchestrator.cli.tones import Tone


class Row(NamedTuple):
    """A row of the screen."""

    text: str
    """`plain`, and not wider than the screen that it was made for."""
    tone: Tone = ""


def width(text: str) -> int:
    """Columns a terminal needs: wide characters take two, combining ones none."""
    return len(text) if text.isascii() else sum(_columns(character) for character in text)


_EMOJI_SELECTOR = "\ufe0f"


def _columns(character: str) -> int:
    import unicodedata

    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _most_columns(character: str) -> int:
    """The same in any terminal: in some a selector makes the character before it an emoji of two columns."""
    return 1 if character == _EMOJI_SELECTOR else _columns(character)


def find_most_width(text: str) -> int:
    """The columns that the text takes in the terminal that needs most for it."""
    return width(text) + text.count(_EMOJI_SELECTOR)


def shorten_end(text: str, size: int) -> str:
    """The text in at most `size` columns, with "…" for its end."""
    if find_most_width(text) <= size:
        return text
    return f"{text[: _find_cut(text, size - 1)]}…" if size > 0 else ""


def _find_cut(text: str, size: int) -> int:
    """How many characters of a text fit into so many columns."""
    if text.isascii():
        return max(size, 0)
    used = 0
    for at, character in enumerate(text):
        used += _most_columns(character)
        if used > size:
            return at
    return len(text)


def fold(text: str, size: int, indent: int = 0) -> Iterator[str]:
    """The text in rows of at most `size` columns, broken between words; all but the first are indented.

    A word that is longer than a row is broken, so that nothing of the text is lost.
    """
    indent = indent if size >= 2 * indent else 0
    while find_most_width(text) > size:
        cut = max(_find_cut(text, size), 1)
        space = text.rfind(" ", indent + 1, cut + 1)
        row, text = (text[:space], text[space + 1 :]) if space > 0 else (text[:cut], text[cut:])
        yield row.rstrip()
        text = " " * indent + text.lstrip()
    yield text
