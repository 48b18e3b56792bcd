"""Marks and words that say whether a task is done or left out: in titles, and under the label Status.

A wrong "done" ends a run with success although no agent began the task. So a mark counts only where it stands
alone at the beginning or the end of a title. A mark that may be part of a phrase (`Show passed checks as ✅`)
is text, and the reader reports it.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

State = Literal["done", "left-out", "unclear"]
"""`unclear`: there is a mark or a word, and it does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateMark:
    state: State
    text: str
    """The mark or the words that say so."""


_DONE = r"(?:done|completed?|finished|closed|shipped|merged)"
_OUT = (
    r"(?:cancell?ed|deferred|postponed|skipped|skip(?!\s+(?:in|on|if|when|the|all|an?|to)\b)|obsolete|dropped|abandoned|superseded|rejected|descoped"
    r"|wontfix|won['’]?t[ -]?(?:do|fix|implement)|will not (?:do|fix|implement)|not doing|not needed"
    r"|no longer needed|out of scope|removed|withdrawn|discarded|duplicate|on hold|parked"
    r"|not applicable|replaced by|do not (?:do|run|start|implement)|don['’]?t (?:do|run|start|implement))"
)
_DONE_MARK = r"(?:[✅✔☑✓🗹]|\[[xX]\]|:(?:white_check_mark|heavy_check_mark|ballot_box_with_check):)"
_OUT_TOKEN = rf"(?:🚫|[(\[]\W{{0,3}}{_OUT}(?:[\s:,;][^()\[\]\n]{{0,60}})?\W{{0,3}}[)\]])"
_OPEN_MARK = r"(?:[❌✗✘☐⬜🔲]|\[ ?\])"
_DATE = r"(?:(?:on|at)\s+)?(?:\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d{4})"
_PROOF = r"(?:(?:in|by|with)\s+)?(?:(?:PR|MR|commit)\s*)?(?:[#!]\d{1,7}|`?[0-9a-f]{7,40}\b`?|@[\w-]{1,39})"
_DONE_TOKEN = (
    rf"(?:[(\[]\s?{_DONE_MARK}\s?[)\]]|{_DONE_MARK}"
    rf"|[(\[]\W{{0,3}}{_DONE}(?:\s+(?:{_DATE}|{_PROOF}))?\W{{0,3}}[)\]])"
)
_REST = rf"(?:[\s*_.,:;!()\[\]–—-]|{_DONE_MARK}|{_DATE}|{_PROOF}|100\s?%)"

# Why a task is left out, as against a sentence that begins with the word: `— Dropped columns are shown`.
_WHY = (
    r"(?:[\s*_.]*|\s*[.:;(–—-][^,\n]{0,60}|\s+(?:to|until|till|for|by|see|in|on|at|from|because|due|per|pending"
    r"|after|as|since|with|now|[#\d])[^,\n]{0,60})"
)

_FLAGS = re.IGNORECASE | re.DOTALL
_TOKEN = re.compile(rf"{_DONE_TOKEN}|{_OUT_TOKEN}|{_OPEN_MARK}", _FLAGS)
_START = re.compile(
    rf"[\s*_]*(?P<said>(?P<done>{_DONE_TOKEN})(?:\s*{_DONE}\b)?|{_OUT_TOKEN}(?:\s*{_OUT}\b)?)"
    r"[*_]*(?:\s|:\s|\s?[–—-])\s*(?P<rest>\S.*)",
    _FLAGS,
)
_END = re.compile(
    rf"(?P<before>.*[^\s–—-])(?P<gap>\s*[–—-]+\s*|\s+)[*_]*"
    rf"(?P<said>(?P<done>(?:\b{_DONE}\s*)?{_DONE_TOKEN}(?:\W{{0,3}}{_DONE}\b)?)"
    rf"|(?:\b{_OUT}\s*)?{_OUT_TOKEN}(?:\W{{0,3}}{_OUT}\b)?)"
    rf"(?:{_REST}|\([^()]{{0,80}}\)){{0,20}}",
    _FLAGS,
)
# A word without brackets counts after a dash only, and with a capital: `Write it — DONE`.
_END_WORD = re.compile(
    rf".*\S(?:\s[–—-]+\s*|[–—]\s?)[*_]*(?P<said>(?P<done>{_DONE}){_REST}{{0,20}}|{_OUT}\b{_WHY})",
    _FLAGS,
)
# At the beginning a word counts before a colon or a dash, or alone: `Task 3.1 Complete: Write it`.
_START_WORD = re.compile(
    r"[\s*_]*(?:status:\s*)?(?P<said>(?P<done>done|completed?|finished)"
    r"|cancell?ed|deferred|postponed|skipped|obsolete|superseded|dropped|removed|withdrawn|on hold|wontfix"
    r"|won['’]?t do)[*_]*"
    r"(?::|\s[–—-]+(?:\s|$)|\s*$).*",
    _FLAGS,
)
_VERB_ALONE = re.compile(r"(?:prefix|prepend|append|escape|strip|detect)\s*", re.IGNORECASE)
_MAY_BE_A_TOPIC = re.compile(r"[\s(\[]*(?:closed|merged|shipped)[\s)\]]*")
_IN_A_PHRASE = re.compile(
    r"(?:^|.*[\s(])(?:an?|the|as|to|with|and|or|of|by|for|in|on|is|are|be|into|from|like|than|vs|via|per|that|if|when"
    r"|not|no|each|every|any|all|both|only|shows?|showing|prints?|renders?|draws?|emits?|inserts?|accepts?|toggles?"
    r"|replaces?|adds?|parses?|emojis?|icons?|symbols?|glyphs?|signs?|checkbox(?:es)?|ticks?)[\s*_]*|.*[,;:/&+=→(\"'“]\s*",
    _FLAGS,
)
_STATE_NAMED = re.compile(r"(?:^|.*\s)(?:state|status|label|column|value|word|option)s?", _FLAGS)
_PHRASE_FOLLOWS = re.compile(
    r"(?:and|or|for|in|is|are|as|to|means?|marks?|icons?|emojis?|symbols?|signs?|vs|instead|should|must|when|if|on|of"
    r"|box(?:es)?|badges?|tasks?|items?)\b|[,;/&+=→]",
    re.IGNORECASE,
)
_LONGEST = 160
_CODE = re.compile(r"`[^`\n]*`")


_OPEN_WORD = (
    r"(?:not\s+(?:yet\s+)?(?:done|started|finished|completed?|implemented)|to-?do|wip|in[ -]progress"
    r"|incomplete|unfinished|partly\s+done|partially\s+(?:done|complete)|pending|re-?opened)"
)
_SAYS_OPEN = re.compile(
    rf"[(\[]\W{{0,3}}{_OPEN_WORD}\W{{0,3}}[)\]]\W*$|\s[–—-]+\s+[*_]*{_OPEN_WORD}\W*$", re.IGNORECASE
)


def is_marked_open(title: str) -> bool:
    """Whether a title ends in words that say that the task is not finished: `Write it (in progress)`."""
    return _SAYS_OPEN.search(title[-_LONGEST:]) is not None


@lru_cache(maxsize=4096)
def title_state(title: str) -> StateMark | None:
    """The state that the marks of a title give; None if it has none. Marks in code are text."""
    text = title.replace("\ufe0f", "").strip()
    text = _CODE.sub("code", text) if "`" in text else text
    tokens = [match[0] for match in _TOKEN.finditer(text[:2000])]
    if any(re.fullmatch(_OPEN_MARK, token) is None for token in tokens):
        match = _START.fullmatch(text) or _END.fullmatch(text[-_LONGEST:])
        if match is not None and match["done"] and is_marked_open(text):
            match = None
        is_topic = match is not None and _MAY_BE_A_TOPIC.fullmatch(match["said"]) is not None
        if match is None or is_topic or _is_phrase(match) or _TOKEN.search(_text_around(match)) is not None:
            return StateMark(
                state="unclear", text=next(t for t in tokens if re.fullmatch(_OPEN_MARK, t) is None)
            )
        return StateMark(state="done" if match["done"] else "left-out", text=match["said"].strip())
    match = _START_WORD.match(text[:_LONGEST]) or _END_WORD.fullmatch(text[-_LONGEST:])
    if match is None or not match["said"][:1].isupper():
        return None
    return StateMark(state="done" if match["done"] else "left-out", text=match["said"].strip())


_OUT_HEADING = re.compile(
    rf"\W*(?:\d+[.)]?\s*)?(?:(?:tasks?|items?)\s+)?(?:{_OUT}|not in scope|out-of-scope|non-goals?|icebox)"
    r"(?:\s+(?:tasks?|items?|work|stories|features?|for now|for later|\([^()\n]*\)))*\W*",
    _FLAGS,
)


@lru_cache(maxsize=4096)
def section_left_out(heading: str) -> str:
    """Why all that is under a heading is left out: `Out of scope`, `Phase 4 (deferred)`; else empty."""
    said = title_state(heading)
    shown = heading.strip()[:60]
    is_out = _OUT_HEADING.fullmatch(heading[:_LONGEST]) or (said is not None and said.state == "left-out")
    return f"its section is called `{shown}`" if is_out else ""


def lead_state(lead: str) -> StateMark | None:
    """The state that a mark before the word "Task" gives."""
    match = re.search(rf"(?P<done>{_DONE_TOKEN})|{_OUT_TOKEN}", lead.replace("\ufe0f", ""), _FLAGS)
    return None if match is None else StateMark(state="done" if match["done"] else "left-out", text=match[0])


def _text_around(match: re.Match[str]) -> str:
    groups = match.groupdict()
    return groups.get("before") or groups.get("rest") or ""


def _is_phrase(match: re.Match[str]) -> bool:
    """Whether the mark belongs to the words beside it."""
    groups = match.groupdict()
    if "rest" in groups:
        return _PHRASE_FOLLOWS.match(groups["rest"]) is not None
    if groups["gap"].strip():
        return False
    is_word = re.search(r"[a-z]", groups["said"], re.IGNORECASE) is not None
    named = is_word and _STATE_NAMED.fullmatch(groups["before"]) is not None
    if _VERB_ALONE.fullmatch(groups["before"]) is not None:
        return True
    return named or _IN_A_PHRASE.fullmatch(groups["before"]) is not None


_STATUS_DONE = re.compile(rf"(?:{_DONE}\b|{_DONE_MARK})(?P<rest>.*)", _FLAGS)
_STATUS_OUT = re.compile(rf"{_OUT}\b(?P<rest>.*)", _FLAGS)
_ONLY_REST = re.compile(rf"(?:{_REST}|\b{_DONE}\b){{0,20}}", _FLAGS)
_ADDS_MORE = re.compile(
    r"\b(?:(?<!for )now|again|but|resumed|re-?opened|re-?done|partly|except"
    r"|not(?!\s+(?:run|do|start|touch|implement|needed|required|necessary|worth|in\s+scope|applicable|used)\b))\b",
    re.IGNORECASE,
)
_STATUS_OPEN = re.compile(
    r"(?:to[ -]?do|open|pending|not\s+(?:yet\s+)?(?:started|done|completed?|begun|finished|implemented)"
    r"|in[ -]progress"
    r"|wip|planned|planning|ready|draft|new|next|backlog|started|ongoing|active|doing|current|incomplete|unfinished"
    r"|in\s+review|review|approved|proposed|queued|scheduled|underway|work in progress"
    r"|in development|partial(?:ly)?|to be|blocked|not cancell?ed"
    r"|undone|accepted|final|needs?)\b",
    re.IGNORECASE,
)
_STATUS_WORD = re.compile(rf"(?:{_DONE}|{_OUT}|blocked|paused|waiting)\b", re.IGNORECASE)


def status_state(value: str) -> StateMark | None:
    """The state by the value of the label Status; None if the task is open or the value is unknown.

    `Done` with a date, a commit or a mark is done; with any other addition it is unclear.
    """
    text = value.replace("\ufe0f", "").partition("\n")[0][:_LONGEST]
    text = re.sub(r"~~[^~]*~~\s*(?=\S)", "", text)  # the state before: `~~Open~~ Done`
    # Decoration before the word, such as a coloured circle; a mark is kept.
    plain = text.strip().strip("*_`")
    text = re.sub(rf"^(?:(?!{_DONE_MARK})[\W_])+", "", plain)
    is_denied = re.search(_OPEN_MARK, plain[: len(plain) - len(text)]) is not None
    shown = value.partition("\n")[0].strip()[:60]
    if (match := _STATUS_DONE.match(text)) is not None:
        is_plain = not is_denied and _ONLY_REST.fullmatch(match["rest"].strip("*_`. ")) is not None
        return StateMark(state="done" if is_plain else "unclear", text=shown)
    if (match := _STATUS_OUT.match(text)) is not None:
        is_plain = _ADDS_MORE.search(match["rest"]) is None and not match["rest"].startswith("?")
        return StateMark(state="left-out" if is_plain else "unclear", text=shown)
    return None if _STATUS_OPEN.match(text) or not text else StateMark(state="unclear", text=shown)


def is_status(value: str) -> bool:
    """Whether a text is a state and not a sentence: `Done`, `in progress`, `Cancelled by Ada`."""
    said = status_state(value)
    text = value.strip().strip("*_`").lstrip("❌✗✘☐⬜🔲 ")
    return said is None or said.state != "unclear" or _STATUS_WORD.match(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """At most one of the three is not empty; each is a reason, to be shown."""

    done: str = ""
    left_out: str = ""
    unclear: str = ""


def decide_state(title: StateMark | None, status: str, *, where: str) -> Decision:
    """The state of a task by its title and its Status; `where` says what the title is: a heading or an item.

    A mark in the title that the Status contradicts does not count.
    """
    said = status_state(status) if status.strip() else None
    shown = status.strip().partition("\n")[0][:60]
    if title is not None and title.state == "left-out":
        reason = "it is struck out" if title.text == "~~" else f"its {where} says `{title.text}`"
        return Decision(left_out=reason)
    if said is not None and said.state == "left-out":
        return Decision(left_out=f"its Status is `{shown}`")
    if said is not None and said.state == "done":
        return Decision(done=f"its Status is `{shown}`")
    if said is not None:
        return Decision(unclear=f"`{shown}` is not one plain state; the task counts as open")
    if title is not None and title.state == "done":
        if status.strip():
            return Decision(
                unclear=f"its {where} says `{title.text}`, its Status `{shown}`; it counts as open"
            )
        return Decision(done=f"its {where} says `{title.text}`")
    if title is not None:
        return Decision(unclear=f"`{title.text}` in its {where} is read as a part of the text")
    return Decision()


_CHECKPOINT = re.compile(
    r"[\s*_]*(?:(?:final|phase|milestone)\s+)?checkpoint(?:\s+\d[\d.]*)?\s*(?:$|[:.–—-])"
    r"|[\s*_]*(?:ensure|verify|check|confirm|make sure)\s+(?:that\s+)?(?:all|the)\s+(?:unit\s+|the\s+)?tests"
    r"\s+(?:still\s+)?pass\b"
    r"|[\s*_]*run\s+(?:the\s+)?(?:full|whole|entire|complete)\s+(?:test\s+suite|tests?)\b"
    r"|[\s*_]*run\s+all\s+(?:the\s+)?(?:unit\s+)?tests\b"
    r"|[\s*_]*manual(?:ly)?\s+(?:check|test|testing|verify|verification|validation|smoke test)\b",
    re.IGNORECASE,
)


def is_checkpoint(title: str) -> bool:
    """Whether a title asks for a check and for nothing else: `Checkpoint - ensure all tests pass`."""
    return _CHECKPOINT.match(title) is not None
