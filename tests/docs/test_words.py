"""The documents agree with the code, links work, and no file names a particular machine."""

import os
import pwd
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from docs_kit import ROOT, anchors, documents, links, name_of, rows, tracked

from orchestrator import errors
from orchestrator.cli import error_reference, main, reference
from orchestrator.preflight.checks import CHECKS
from orchestrator.run import endings

PACKAGE = ROOT / "src" / "orchestrator"
PUBLIC_HOSTS = frozenset(
    {
        "api.anthropic.com",
        "code.claude.com",
        "deb.debian.org",
        "example.com",
        "example.org",
        "proxy.example",
        "proxy.example.com",
        "proxy.invalid",
        "snapshot.debian.org",
        "toml.io",
        "www.anthropic.com",
        "www.conventionalcommits.org",
        "127.0.0.1",
        "127.example.org",
        "0.0.0.0",
        "host.docker.internal",
    }
)
"""Hosts that a tracked file may name: pages for readers, the provider, and names that stand for any."""
STANDARD = frozenset(
    {"bin", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "root", "run", "sbin"}
    | {"srv", "sys", "tmp", "usr", "var"}
)
"""Folders that every machine has at the top."""


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    for link in links(document):
        if urlsplit(link).scheme:
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leads out of the project"
        if anchor:
            assert anchor in anchors(target), f"{link}: there is no such heading"


def test_exit_codes_of_the_readme_are_those_of_the_code() -> None:
    given = {int(row[0]) for row in rows(ROOT / "README.md", "## Exit codes")}
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    expected = {each.exit_code for each in classes if issubclass(each, errors.OrchestratorError)}
    expected |= {main.BUG, main.INTERRUPTED, endings.BUG, endings.NOT_BEGUN, *endings.EXIT_CODES.values()}
    assert given == expected


def test_the_page_of_commands_is_as_the_parsers_have_it() -> None:
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert page == reference.render(), "python -m orchestrator.cli.reference > docs/commands.md"


def test_the_page_of_errors_is_as_the_code_has_them() -> None:
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    command = "python -m orchestrator.cli.error_reference > docs/errors.md"
    assert page == error_reference.render(), command


def test_every_error_says_what_to_do() -> None:
    places = list(error_reference.find_places())
    assert len(places) > 200
    without = [
        f"{place.module}:{place.line}: {place.what}"
        for place in places
        if not (place.hint or place.kind.usual_hint)
    ]
    assert not without, "\n".join(["give the error a hint:", *without])


def test_commands_that_documents_name_exist() -> None:
    known = {name.split()[0] for name, _, _ in reference.commands()}
    for document in documents():
        for name in re.findall(r"`orchestrator ([a-z-]+)", document.read_text("utf-8")):
            assert name in known, f"{name_of(document)}: orchestrator {name}"


def test_names_of_checks_fit_their_column() -> None:
    assert max(map(len, CHECKS)) <= 14


@pytest.mark.parametrize(
    ("document", "heading"),
    [("AGENTS.md", "## Layout"), ("AGENTS.md", "## Generated, never edited")],
    ids=["layout", "generated"],
)
def test_places_that_a_table_names_exist(document: str, heading: str) -> None:
    for place, *_ in rows(ROOT / document, heading):
        for name in re.findall(r"`([^`]+)`", place):
            assert list(ROOT.glob(name.rstrip("/"))), f"{document} names {name}"


def test_every_part_is_in_the_architecture_and_every_row_is_a_part() -> None:
    given = set()
    for place, *_ in rows(ROOT / "ARCHITECTURE.md", "## The folders"):
        given |= set(re.findall(r"`([^`]+)`", place))
    found = {path.relative_to(PACKAGE).parts[0] for path in tracked(".py") if path.is_relative_to(PACKAGE)}
    parts = {f"{part}/" if (PACKAGE / part).is_dir() else part for part in found}
    assert given == parts - {"__init__.py"}


def test_the_list_of_decisions_is_whole() -> None:
    folder = ROOT / "docs" / "adr"
    listed = re.findall(
        r"^\| \[(\d+)\]\(([^)]+)\) \| (.*) \|$", (folder / "README.md").read_text(), re.MULTILINE
    )
    found = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [name for _, name, _ in listed] == found
    for number, name, title in listed:
        assert name.startswith(f"{int(number):04}-")
        text = (folder / name).read_text("utf-8")
        assert text.startswith(f"# {number}. {title}\n")
        assert "## Considered and rejected" in text


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        seen.add(document)
        targets = [document.parent / link.partition("#")[0] for link in links(document) if ":" not in link]
        waiting += [t for t in map(Path.resolve, targets) if t.suffix == ".md" and t not in seen]
    apart = {ROOT / "AGENTS.md", ROOT / "deploy" / "docker" / "coding-agent" / "certificates" / "README.md"}
    assert {name_of(path) for path in documents()} - {name_of(path) for path in apart | seen} == set()


def _of_this_machine() -> list[str]:
    """Folders that only this machine has: the folder of this clone, and the caller's home."""
    above = [ROOT, *ROOT.parents][:-1]
    telling = [path for path in above if len(path.parts) > 2 or path.name not in STANDARD]
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    return [f"{path}/" for path in [*telling, *([home] if home != Path("/") else [])]]


def _texts() -> list[tuple[str, str]]:
    return [(name_of(path), path.read_text("utf-8", "replace")) for path in tracked()]


def test_no_tracked_file_has_a_path_of_this_machine() -> None:
    found = [(name, path) for name, text in _texts() for path in _of_this_machine() if path in text]
    assert found == []


def test_no_tracked_file_names_a_host_of_one_network() -> None:
    named = re.compile(r"\b[a-z+]{2,9}://(?:[^\s/@]*@)?([A-Za-z0-9.-]+\.[A-Za-z0-9-]+)")
    found = [(name, host) for name, text in _texts() for host in named.findall(text)]
    assert [(name, host) for name, host in found if host.rstrip(".") not in PUBLIC_HOSTS] == []
