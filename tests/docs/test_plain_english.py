"""The worst turns of phrase stay out of code, messages, documents and names (docs/adr/0013)."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from docs_kit import name_of, tracked

MARK = "plain-english: allowed"
"""A line with this mark and a reason may contain any turn."""

_MARKED = re.compile(rf"{MARK}[,:;]? (- )?\w+ \w+")
"""The mark with its reason, of two words at least; the mark by itself allows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    pattern: str
    """Looked for in lower-case words: `_` and capitals in names separate words, too."""
    say: str
    reason: str


TURNS = (
    Turn(pattern=r"mend(s|ed|ing)?", say="fix, repair", reason="out of use in technical English"),
    Turn(pattern=r"anew", say="again, from scratch", reason="does not say which of the two"),
    Turn(pattern=r"for ever", say="forever", reason="two words read as a purpose"),
    Turn(pattern=r"who(so)?ever", say="the user, the caller, the process that", reason="hides the subject"),
    Turn(pattern=r"wish(es|ed|ing)?", say="request, ask", reason="a rule is not a wish"),
    Turn(pattern=r"chatter", say="agent output", reason="the glossary has one word for it"),
    Turn(pattern=r"lies|lay in", say="is, is stored in, is at", reason="ambiguous"),
    Turn(
        pattern=r"(?<!there )(is|are|was) no (?!longer|more|less|such)\w+",
        say="is not a …, unknown …",
        reason="an ordinary negative is read once",
    ),
    Turn(pattern=r"(go|goes|going|gone|went) on", say="continue, resume", reason="the command is resume"),
    Turn(
        pattern=r"(take|takes|took|taken|taking|bring|brings|brought) back",
        say="undo, restore",
        reason="the command is undo",
    ),
    Turn(pattern=r"(give|gives|gave|given|giving) up", say="cancel, stop", reason="the command is cancel"),
    Turn(pattern=r"cut off", say="interrupted, stopped", reason="the glossary has one word for it"),
    Turn(
        pattern=r"somebody|nobody|strangers?|a person",
        say="the user, another process, an unknown author",
        reason="who it is decides what is safe",
    ),
    Turn(pattern=r"(is|are|was) over", say="has ended, is finished", reason="also means above"),
    Turn(
        pattern=r"tells|(?<!\.)tell|told",
        say="report, print, return, distinguish",
        reason="a function does something definite",
    ),
    Turn(pattern=r"hears?|heard", say="receives", reason="a listener is called with a fact"),
    Turn(pattern=r"people|persons?|folks?", say="the user, authors, readers", reason="who it is decides"),
    Turn(pattern=r"(come|comes|came) to (?!be)", say="end, result in", reason="also means arrive"),
    Turn(pattern=r"(has|have) over", say="has and … does not have", reason="also means above"),
    Turn(pattern=r"(take|takes|took|taken|taking) away", say="remove", reason="the word is remove"),
    Turn(
        pattern=r"the very|the like|all else", say="exactly, similar, everything else", reason="not idiomatic"
    ),
    Turn(
        pattern=r"for instance|as it comes|without more",
        say="for example, by default",
        reason="one word each",
    ),
    Turn(pattern=r"a word (to|from|of)", say="a message, instructions", reason="literally one word"),
    Turn(pattern=r"in the way", say="already exists, conflicts with", reason="says neither what nor why"),
    Turn(pattern=r"of ours", say="our own, the orchestrator's", reason="unclear who we are"),
    Turn(pattern=r"side by side", say="at the same time, in parallel", reason="time, not place"),
    Turn(pattern=r"as it stands", say="verbatim, unchanged", reason="nothing stands"),
    Turn(pattern=r"in (its|their) place", say="instead of it", reason="also means at the right position"),
    Turn(pattern=r"look(s|ed|ing)? at", say="check, read", reason="says nothing about what is done"),
    Turn(pattern=r"whatever", say="every, any, even if", reason="hides the cases that are meant"),
    Turn(
        pattern=r"(is|are|was|were) (there already|already there)",
        say="already exists, is already installed",
        reason="there is nowhere",
    ),
    Turn(
        pattern=r"(beside|under|behind|in) (it|them) lie",
        say="the folder also contains",
        reason="names neither",
    ),
    Turn(
        pattern=r"(?P<status>cancelled|failed|completed|stopped|waiting|parked): (?P=status)",
        say="the status, then its reason",
        reason="the same word twice is no reason",
    ),
    Turn(pattern=r"yours", say="your repository, your files", reason="does not name the thing"),
    Turn(
        pattern=r"(is|are|be|stays?|was|were|not|still) (ours|theirs)|of theirs|and theirs",
        say="the orchestrator's, the user's",
        reason="two readers take it for two owners",
    ),
    Turn(pattern=r"nothing that (says|shows)", say="no file that", reason="a folder does not speak"),
    Turn(pattern=r"glued|half a word", say="joined", reason="a picture, not a fact"),
    Turn(
        pattern=r"tasks? that (is|are|was|were) imported|imported tasks?",
        say="done before this run",
        reason="nobody imports a task",
    ),
    Turn(pattern=r"export a credential", say="set ANTHROPIC_API_KEY", reason="names no variable to set"),
)

QUOTING = ("docs/adr/0013-the-words-of-the-code.md", "tests/docs/test_plain_english.py", "LICENSE")
"""The first two list the turns; a licence is quoted."""

ALLOWED = {
    "0003-agent-chatter": "the name of a published document",
    "cancel_wished": "a stored kind of fact",
    "tree_looked_at": "a stored kind of fact",
    "owner: somebody": "quoted from a plan",
    '"mend"': "a field of the JSON of `doctor`",
    "greets people by name": "the goal of an example",
}
"""Names that are stored or published, and so keep their words."""

CAPTURED = ("tests/agents/fixtures", "tests/journal/fixtures", "tests/plan/corpus", "examples")
"""Output of real programs, and plans as people write them."""

SUFFIXES = (".py", ".md", ".sh", ".sql", ".toml", "")
SESSIONS = "tests/cli/sessions/"
"""Screens of a terminal, as text; other `.txt` files are data."""

_ANY = re.compile("|".join(rf"\b(?:{turn.pattern})\b".replace(" ", r"\s") for turn in TURNS))
"""A turn is also found where a line ends within it."""
_EACH = [(turn, re.compile(rf"\b(?:{turn.pattern})\b".replace(" ", r"\s"))) for turn in TURNS]


def _words(line: str) -> str:
    """The line in lower case, with the names in it separated into words."""
    for name in ALLOWED:
        line = line.replace(name, "")
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_-]+", " ", line).lower()


def _searched() -> Iterator[Path]:
    for path in tracked():
        name = name_of(path)
        is_read = path.suffix in SUFFIXES or name.startswith(SESSIONS)
        if is_read and name not in QUOTING and not name.startswith(CAPTURED):
            yield path


def found_in(name: str, text: str) -> Iterator[str]:
    lines = ("" if _MARKED.search(line) else _words(line).strip(" #") for line in text.splitlines())
    words = "\n".join(lines)
    for found in _ANY.finditer(words):
        number, said = words.count("\n", 0, found.start()) + 1, found[0].replace("\n", " ")
        turn = next(turn for turn, pattern in _EACH if pattern.match(words, found.start()))
        yield f"{name}:{number}: {said!r}: say {turn.say} ({turn.reason})"


def test_no_turn_has_to_be_read_twice() -> None:
    found = [
        line for path in _searched() for line in found_in(name_of(path), path.read_text("utf-8", "replace"))
    ]
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(
    "line",
    [
        "def test_it_goes_on() -> None:",
        "class GoOn:",
        "# nobody's file",
        "It is no setting.",
        "mended",
        "# it goes\n# on",
        "run plan-000001 cancelled: cancelled",
        "The image is already there.",
        "Beside it lie: a.py",
        "imported tasks",
        "→ export a credential=",
        "mended  # plain-english: allowed",
        "mended  # plain-english: allowed - ",
    ],
)
def test_turns_are_found_in_names_and_in_text(line: str) -> None:
    assert len(list(found_in("x", line))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "there is no task 7",
        "It is no longer needed.",
        "recommended",
        "cancel_wished",
        "It goes on.  # plain-english: allowed - a quotation",
    ],
)
def test_other_text_is_not_found(line: str) -> None:
    assert not list(found_in("x", line))


def hidden_subjects(text: str) -> Iterator[tuple[int, str]]:
    """Docstrings, also those of fields and constants, whose first word hides what the sentence is about."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            said = node.value.value
            if isinstance(said, str) and re.match(r"\s*(What|Which|Whoever|Whatever)\b", said):
                yield node.lineno, said.split("\n", 1)[0]


@pytest.mark.parametrize("text", ['"""What is sent."""', 'class A:\n    b: int\n    """Which of them."""'])
def test_a_hidden_subject_is_found(text: str) -> None:
    assert len(list(hidden_subjects(text))) == 1
    assert not list(hidden_subjects('"""The message that is sent. What comes back is ignored."""'))


def test_docstrings_begin_with_their_subject() -> None:
    sources = [path for path in _searched() if path.suffix == ".py"]
    found = [
        f"{name_of(path)}:{line}: {said}"
        for path in sources
        for line, said in hidden_subjects(path.read_text())
    ]
    assert not found, "\n".join(["name the thing, or start with a verb:", *found])
