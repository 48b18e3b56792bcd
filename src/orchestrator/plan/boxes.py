"""List items with a box: `- [ ] Write it`, in the forms that authors use."""

import re
from dataclasses import dataclass

BULLET = r"(?:[-*+•]|\d{1,9}[.)])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkbox:
    line: int
    indent: int
    """The column of its bullet; a tab goes to the next multiple of four."""
    done: bool
    """Whether the mark is an `x`. Every other mark counts as open."""
    mark: str
    """The text between the brackets."""
    is_known: bool
    """Whether the mark has a meaning: blank, `x`, and Kiro's `-` and `~`."""
    is_sure: bool
    """False for a link (`[x](page)`) and a number (`[1]`), which only look like a box: never a task."""
    optional: bool
    text: str


_BOX = re.compile(
    rf"(?P<indent>\s*)(?P<bullet>{BULLET}\s*)?\[(?P<mark>[^\[\]\n]{{0,12}})\](?P<star>\*(?!\*))?(?P<text>.*)"
)
_WORDS = frozenset(("done", "todo", "wip", "open", "ok", "yes", "no", "doing", "blocked", "pending", "xx"))


def read_box(line: int, text: str) -> Checkbox | None:
    """The box at the beginning of a line of Markdown. Without a bullet only `[ ] ` and `[x] ` are one."""
    match = _BOX.fullmatch(text) if "[" in text else None
    if match is None:
        return None
    mark = match["mark"].replace("\ufe0f", "").strip()
    if match["bullet"] is None and (mark not in ("", "x", "X") or not match["text"][:1].isspace()):
        return None
    is_link = mark != "" and match["text"][:1] in ("(", "[")
    if len(mark) > 1 and (is_link or not (mark.lower() in _WORDS or _is_symbol(mark))):
        return None
    return Checkbox(
        line=line,
        indent=len(match["indent"].expandtabs(4)),
        done=mark in ("x", "X") and not is_link,
        mark=mark,
        is_known=mark in ("", "x", "X", "-", "~"),
        is_sure=not (is_link or mark.isdigit()),
        optional=match["star"] is not None,
        text=match["text"].strip(),
    )


def _is_symbol(mark: str) -> bool:
    return len(mark) <= 4 and not any(char.isalnum() or char.isspace() for char in mark)
