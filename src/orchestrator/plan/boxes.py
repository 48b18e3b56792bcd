"""List items with a box: `- [ ] Write it`, in the forms that authors use."""

import re
from dataclasses import dataclass
from functools import lru_cache

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


# Before a box more is a bullet than elsewhere: `– [ ]`, `a) [ ]`, `(1) [ ]`, `- - [ ]`.
_BOX_BULLET = rf"(?:{BULLET}|[–—◦‣·∙●○▪⁃]|\(\d{{1,3}}\)|[A-Za-z][.)])"
_BOX = re.compile(
    rf"(?P<indent>\s*)(?P<bullet>(?:(?:~~)?{_BOX_BULLET}\s+){{0,2}}(?:~~)?{_BOX_BULLET}\s*)?(?:<!--[^\n]{{0,200}}?-->\s*)?(?P<around>\*\*|__|~~|\\)?"
    r"(?:[\[［](?P<mark>[^\[\]［］\n]{0,12})[\]］]|(?P<round>\([ xX]\))|(?P<glyph>[☐☑☒⬜🔲]\ufe0f?)(?=\s))"
    r"(?P<star>\*(?!\*))?(?P<text>.*)"
)
_MAY_BE_BOX = re.compile(r"[\[［☐☑☒⬜🔲]|\([ xX]\)")
_WORDS = re.compile(
    r"done|todo|wip|open|ok|yes|no|doing|blocked|pending|xx|in progress|not started|started|completed?"
    r"|finished|closed|cancell?ed|deferred|skip|skipped|later|on hold|n/a|next|review"
)


def may_have_box(text: str) -> bool:
    """Whether a box may be in a text; a quick check before the exact one."""
    return _MAY_BE_BOX.search(text) is not None


@lru_cache(maxsize=2048)  # a line is asked about several times: as a value, as a criterion, as an item
def read_box(line: int, text: str) -> Checkbox | None:
    """The box at the beginning of a line of Markdown. Without a bullet only `[ ] ` and `[x] ` are one."""
    start = text.lstrip()[:2]
    if start[:1].isalpha() and start[1:] not in (".", ")"):  # most lines are prose, and this is quick
        return None
    match = _BOX.fullmatch(text) if _MAY_BE_BOX.search(text) is not None else None
    if match is None:
        return None
    glyph = (match["glyph"] or "").replace("\ufe0f", "")
    is_usual = match["mark"] is not None
    mark = match["mark"] if is_usual else glyph or match["round"]
    mark = (
        "" if glyph in ("☐", "⬜", "🔲") and not is_usual else mark.replace("\ufe0f", "").strip("\\ \t\xa0")
    )
    is_bare = match["bullet"] is None and not glyph
    if is_bare and (mark not in ("", "x", "X") or not match["text"][:1].isspace()):
        return None
    if match["around"] and mark not in ("", "x", "X"):
        return None
    around = match["around"] or ("~~" if "~~" in (match["bullet"] or "") else "")
    is_link = mark != "" and match["text"][:1] in ("(", "[")
    if len(mark) > 1 and (is_link or not (_WORDS.fullmatch(mark.lower()) or _is_symbol(mark))):
        return None
    return Checkbox(
        line=line,
        indent=len(match["indent"].expandtabs(4)),
        done=mark in ("x", "X") and not is_link,
        mark=mark,
        is_known=mark in ("", "x", "X", "-", "~"),
        is_sure=not (is_link or mark.isdigit()),
        optional=match["star"] is not None,
        text=_with_emphasis(around, match["text"].strip()),
    )


def _with_emphasis(mark: str, text: str) -> str:
    """The text without the half of an emphasis that was around the box: `**[ ]** Write it`."""
    if mark in ("", "\\"):
        return text
    return text.removeprefix(mark).strip() if text.startswith(mark) else mark + text


def _is_symbol(mark: str) -> bool:
    if mark in ("( )", "(x)", "(X)") or re.fullmatch(r"\d{1,3}\s?%", mark):
        return True
    return len(mark) <= 4 and not any(char.isalnum() or char.isspace() for char in mark)
