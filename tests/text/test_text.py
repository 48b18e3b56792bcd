"""Text of an agent as text: nothing in it moves a cursor, changes a colour or turns a line around."""

import os
import subprocess  # noqa: TID251 - a real shell reads the words
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.text import first_line, one_line, plain, plain_end, shell_word, visible

PLAIN = {
    "letters": ("Grüße, 世界 🎉", "Grüße, 世界 🎉"),
    "newlines and tabs": ("a\n\tb", "a\n\tb"),
    "a colour": ("\x1b[31mred\x1b[0m", "red"),
    "a window title": ("\x1b]0;title\x07", ""),
    "one-byte escapes": ("\x9b31mred\x9d0;t\x9c", "red"),
    "a title that never ends": ("\x1b]0;title", "title"),
    "a title torn by the next one": ("\x1b]0;a\x1b]0;b\x07c", "ac"),
    "a colour that is cut": ("red\x1b[3", "red"),
    "a colour cut after its bracket": ("red\x1b[", "red"),
    "a colour torn by the next one": ("\x1b[\x1b[92mINFO\x1b[0m", "INFO"),
    "a colour torn by a newline": ("\x1b[92\nINFO", "\nINFO"),
    "a private mode": ("\x1b[?25lwait\x1b[?25h", "wait"),
    "a character set": ("\x1b(Btext", "text"),
    "a saved cursor": ("\x1b7text\x1b8", "text"),
    "a device string": ("\x1bPq#0\x1b\\text", "text"),
    "an escape at the end": ("text\x1b", "text"),
    "carriage returns and backspaces": ("good\rbad\b\b\b", "goodbad"),
    "null and delete": ("a\x00b\x7fc", "abc"),
    "overrides of direction": ("a\u202eb\u2066c\u2069\u200e\u200f\u061c", "abc"),
    "a lone surrogate": ("a\ud800b", "a?b"),
    "markup": ("[bold]/workspace/a.py[/bold]", "[bold]/workspace/a.py[/bold]"),
}


@pytest.mark.parametrize(("text", "expected"), PLAIN.values(), ids=PLAIN)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize("characters", range(1, 12))
def test_a_cut_leaves_no_part_of_an_escape_sequence(characters: int) -> None:
    text = "\x1b[31m" * 200 + "\x1b[1;92mINFO\x1b[0m"
    assert "INFO".endswith(plain_end(text, characters))


def test_the_end_of_a_text_is_cut_without_reading_all_of_it() -> None:
    assert plain_end("abc\x1b[92mdef", 3) == "def"
    assert plain_end("abc\x1b[92mdef", 7) == "def"
    assert plain_end("abc\x1b[92mdef", 8) == "def"
    assert plain_end("abc\x1b[92mdef", 9) == "cdef"
    assert plain_end("abc", 100) == "abc"
    assert len(plain_end("x" * 10_000_000, 10)) == 10


def test_many_openings_of_a_sequence_take_linear_time() -> None:
    for opening in ("\x9d", "\x1b]", "\x1b[", "\x9b0", "\x90"):
        assert plain(opening * 200_000 + "a") in ("a", "")  # a quadratic search would take hours


ANY = st.text(alphabet=st.characters(exclude_categories=()), max_size=80)


@given(ANY)
def test_plain_text_holds_no_control_code_and_can_be_written(text: str) -> None:
    found = plain(text)
    found.encode("utf-8")
    assert not [c for c in found if unicodedata.category(c) == "Cc" and c not in "\n\t"]
    assert not [c for c in found if unicodedata.bidirectional(c) in ("LRO", "RLO", "LRE", "RLE", "PDF")]
    assert plain(found) == found


@given(ANY, st.integers(1, 40))
def test_one_line_is_one_line_of_at_most_its_width(text: str, width: int) -> None:
    found = one_line(text, width)
    assert len(found) <= width
    assert len(found.splitlines()) <= 1
    assert found == found.strip() or found.endswith("…")


def test_what_is_cut_says_so() -> None:
    assert one_line("abcdef", 6) == "abcdef"
    assert one_line("abcdefg", 6) == "abcde…"
    assert one_line("  a \n\n b\tc ") == "a b c"


VISIBLE = {
    "letters": ("Grüße 世界", "Grüße 世界"),
    "newline and tab": ("a\n\tb", "a\n\tb"),
    "escape": ("\x1b[31m", "␛[31m"),
    "bell, return, backspace, null": ("\x07\r\b\0", "␇␍␈␀"),
    "delete": ("\x7f", "\\x7f"),
    "one-byte escape": ("\x9b", "\\x9b"),
    "direction": ("\u202e\u200f\u061c", "\\u202e\\u200f\\u061c"),
    "markup": ("[bold]", "[bold]"),
}


@pytest.mark.parametrize(("text", "expected"), VISIBLE.values(), ids=VISIBLE)
def test_visible(text: str, expected: str) -> None:
    assert visible(text) == expected


@given(ANY)
def test_nothing_visible_moves_a_cursor(text: str) -> None:
    assert not [c for c in visible(text) if unicodedata.category(c) == "Cc" and c not in "\n\t"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("make\n", "make"), ("cd a\nmake  b\n", "cd a … (2 lines)"), ("", ""), ("x" * 9, "xxxx…")],
    ids=["one line", "two lines", "none", "a long line"],
)
def test_the_first_line(text: str, expected: str) -> None:
    assert first_line(text, 5 if "x" in text else 120) == expected


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))
def test_a_word_for_the_shell_is_one_line_and_means_the_text(text: str) -> None:
    word = shell_word(text)
    assert word.isprintable()
    done = subprocess.run(
        ["bash", "--norc", "-c", f"printf %s {word}"], capture_output=True, timeout=60, check=True
    )
    assert done.stdout.decode() == text


def test_a_path_of_any_bytes_is_a_word_for_the_shell() -> None:
    assert shell_word(os.fsdecode(b"caf\xe9 \n")) == r"$'caf\xe9\x20\x0a'"
    assert shell_word("plans/a b's.md") == """'plans/a b'"'"'s.md'"""
    assert shell_word("plans/greeting.md") == "plans/greeting.md"
