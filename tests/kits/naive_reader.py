"""Readers that do the obvious, to show that the traps are traps."""

import re

from markdown_it import MarkdownIt


def headings_by_regex(text: str) -> list[str]:
    """Task ids as one regular expression over the file finds them."""
    return re.findall(r"^#{2,4} +Task +([\w.]+?)[:.]?(?: |$)", text, re.MULTILINE)


def mentions_by_regex(text: str) -> list[str]:
    return re.findall(r"Task (\d+\.\d+):", text)


def headings_by_commonmark(text: str) -> list[str]:
    """Task ids as a correct CommonMark parser finds them."""
    tokens = MarkdownIt("commonmark").parse(text)
    titles = [tokens[n + 1].content for n, token in enumerate(tokens) if token.type == "heading_open"]
    return [match[1] for title in titles if (match := re.match(r"Task ([\w.]+?)[:.]?(?: |$)", title))]


def scenario_by_regex(text: str) -> list[str]:
    """Commands of the end-to-end section, taken up to the next line that starts with `## `."""
    section = re.search(r"^## E2E.*?\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return [] if section is None else re.findall(r"```bash\n(.*?)\n```", section[1], re.DOTALL)


def dependencies_by_regex(text: str) -> list[list[str]]:
    return [
        [piece.strip() for piece in value.split(",")]
        for value in re.findall(r"^\*\*Depends on:\*\* (.*)$", text, re.MULTILINE)
    ]
