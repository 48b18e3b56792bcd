"""The project's own files, and what stands in its Markdown."""

import os
import re
import subprocess  # noqa: TID251 - git and the documents' commands, as a reader types them
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orchestrator

ROOT = Path(__file__).resolve().parents[2]
SHELL = ("sh", "console")
"""Fences with these names are commands for the reader to type."""

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.*?) *#*$")

_DRY_MAKE = 'make() { command make --dry-run "$@"; }\n'
"""Making everything inside a test of the documents would never end; that the targets exist is seen."""


class Block(NamedTuple):
    line: int
    text: str


def tracked(suffix: str = "") -> list[Path]:
    """Files of the project: those that git tracks, or would."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "-c", "-o", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    names = [os.fsdecode(name) for name in listing.split(b"\0") if name]
    return [ROOT / name for name in sorted(set(names)) if name.endswith(suffix) and (ROOT / name).is_file()]


def documents() -> list[Path]:
    """Markdown for readers; plans and recorded streams of the tests are none."""
    apart = tuple(ROOT / name for name in ("tests", "src", "examples"))
    return [path for path in tracked(".md") if not any(path.is_relative_to(folder) for folder in apart)]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_blocks(text: str) -> tuple[str, list[tuple[str, Block]]]:
    """The prose, and every fenced block with the first word of its info string."""
    prose, blocks = [], []
    closing, info, start, held = "", "", 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if closing:
            if fence and fence["fence"].startswith(closing) and not fence["info"].strip():
                blocks.append((info, Block(start, "\n".join(held) + "\n")))
                closing = ""
            else:
                held.append(line)
        elif fence:
            closing, start, held = fence["fence"], number, []
            info = (fence["info"].split() or [""])[0]
        else:
            prose.append(line)
    assert not closing, f"the fence of line {start} never ends"
    return "\n".join(prose), blocks


def commands(path: Path) -> list[Block]:
    """The commands that the page shows to the reader; of a `console` block the lines after `$ `."""
    _, blocks = without_blocks(path.read_text("utf-8"))
    found = []
    for info, block in blocks:
        if info == "sh":
            found.append(block)
        elif info == "console":
            typed = [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
            found.append(Block(block.line, "\n".join(typed) + "\n"))
    return found


def links(path: Path) -> list[str]:
    prose, _ = without_blocks(path.read_text("utf-8"))
    return _LINK.findall(re.sub(r"`[^`]*`", "", prose))


def anchors(path: Path) -> set[str]:
    """The names that a link can jump to, as GitHub makes them of headings."""
    prose, _ = without_blocks(path.read_text("utf-8"))
    headings = [found[1] for line in prose.splitlines() if (found := _HEADING.match(line))]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(path: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its header."""
    prose, _ = without_blocks(path.read_text("utf-8"))
    _, found, below = prose.partition(f"\n{heading}\n")
    assert found, f"{name_of(path)} has no heading {heading}"
    table = [line for line in below.split("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A reader who types the commands of a document, in a repository of their own."""

    folder: Path
    environment: dict[str, str]

    def types(self, block: Block) -> str:
        """Run a block to its end; commands for a fresh clone run in this clone."""
        in_clone = block.text.startswith("make ")
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", _DRY_MAKE + block.text],
            cwd=ROOT if in_clone else self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=240,
        )
        output = done.stdout.decode("utf-8", "replace")
        assert done.returncode == 0, f"line {block.line} ends with {done.returncode}:\n{block.text}\n{output}"
        return output

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.folder, env=self.environment, check=True, capture_output=True
        )
        return done.stdout.decode().strip()


def write_command(into: Path) -> None:
    """The command `orchestrator` of the code under test, as a program in a folder."""
    package = Path(orchestrator.__file__).resolve().parents[1]
    into.mkdir(parents=True)
    program = into / "orchestrator"
    program.write_text(
        f"#!/bin/sh\nPYTHONPATH='{package}' exec '{sys.executable}' -m orchestrator.cli.main \"$@\"\n"
    )
    program.chmod(0o755)
