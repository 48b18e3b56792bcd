"""`report`: what a run has done and what shows it, in four forms."""

import html.parser
import json
from pathlib import Path

import pytest
from cli_kit import orchestrate, remember
from markdown_it import MarkdownIt
from msgspec.structs import replace
from run_histories import (
    BASE_CHECKED,
    ON_BRANCH,
    RUN,
    Entry,
    answered,
    asked,
    attempt,
    begun,
    candidate,
    ended,
    finished,
    gate,
    landing,
    run_ended,
    task_started,
)

from orchestrator.run.facts import BaseChecked, Before, GateEnded, RunStarted, TaskFinished, Verification

HOSTILE = "<script>alert(1)</script> | [link](https://example.com) \x1b[31mred `code` @someone \u202egnp"


def on_base(command: str, before: Before, evidence: str) -> Entry:
    body = BaseChecked(
        gate="verify-1", command=command, before=before, exit_code=0, evidence=evidence, seconds=1.0
    )
    return Entry(body, "1")


def finished_as(
    verification: Verification, task: str, reason: str | None = None, undeclared: tuple[str, ...] = ()
) -> Entry:
    body = TaskFinished(
        status="completed",
        commit=f"candidate{task}.1",
        verification=verification,
        reason=reason,
        undeclared_files=undeclared,
    )
    return Entry(body, task, 1)


def gate_of(task: str, verdict: str, evidence: str, command: str, **more: object) -> Entry:
    entry = gate(verdict, 1, task, evidence=evidence, command=command)  # type: ignore[arg-type]
    assert isinstance(entry.body, GateEnded)
    return entry._replace(body=replace(entry.body, **more))


def begun_with(title: str) -> Entry:
    started = begun("1", "2", "3", "4", "5").body
    assert isinstance(started, RunStarted)
    return Entry(replace(started, plan_title=title))


WHOLE = (
    begun_with("A greeting"),
    *(on_base("make proof", "red", "e1"), on_base("make guard", "already_green", "e2")),
    *(BASE_CHECKED, ON_BRANCH),
    *(
        task_started("1"),
        attempt(1, "1"),
        ended("completed", 1, "1"),
        candidate(1, "1", evidence=("e3", "e4")),
    ),
    *(gate_of("1", "pass", "e3", "make proof"), gate_of("1", "pass", "e4", "make guard")),
    *(landing(1, "1"), finished_as("verified", "1", undeclared=("src/other.py", "uv.lock"))),
    *(task_started("2"), attempt(1, "2"), ended("completed", 1, "2"), candidate(1, "2", evidence=("e5",))),
    *(gate_of("2", "pass", "e5", "make guard"), finished_as("verified", "2")),
    *(task_started("3"), attempt(1, "3"), ended("completed", 1, "3"), candidate(1, "3", evidence=())),
    finished_as("unverified", "3", "it has no check"),
    *(task_started("4"), attempt(1, "4"), ended("completed", 1, "4"), candidate(1, "4", evidence=("e6",))),
    gate_of("4", "pass", "e6", "make red", fails_as_before=True, before="red"),
    finished_as("verified", "4"),
    *(task_started("5"), attempt(1, "5"), ended("completed", 1, "5"), candidate(1, "5", evidence=("e7",))),
    gate_of("5", "fail", "e7", "make one\nmake two", tail="one\ntwo\nthe end\n"),
    finished("failed", None, "5"),
    run_ended("failed", 1),
)


@pytest.fixture
def stored() -> str:
    remember(WHOLE)
    return RUN


def test_what_proves_little_stands_first(stored: str, tmp_path: Path) -> None:
    lines = orchestrate("report", stored, cwd=tmp_path).stdout.decode().splitlines()
    first = lines.index("Check this first")
    assert lines[first + 1 : first + 7] == [
        "  because",
        "  task 1 also changed files that its plan does not name: src/other.py, uv.lock",
        "  task 2 is shown by guards only: all its checks pass without the work, too",
        "  task 3 is unverified: it has no check",
        "  task 4 is red before: verify-1 fails as it did before the work",
        "  task 5 has failed: no more attempts",
    ]
    assert lines[-1] == f"next: orchestrator logs {stored} --evidence e7"


@pytest.mark.parametrize("form", [(), ("--md",), ("--html",)], ids=["text", "md", "html"])
def test_files_that_the_plan_does_not_name_are_named(
    stored: str, tmp_path: Path, form: tuple[str, ...]
) -> None:
    text = orchestrate("report", stored, *form, cwd=tmp_path).stdout.decode()
    assert text.count("also changed files that its plan does not name") == 1 and "uv.lock" in text


def test_each_check_stands_beside_its_result_before_the_work(stored: str, tmp_path: Path) -> None:
    text = orchestrate("report", stored, cwd=tmp_path).stdout.decode()
    assert "pass, 0.5 s; failed before the work\n    $ make proof" in text
    assert "pass, 0.5 s; passes without the work, too\n    $ make guard" in text
    assert "red before, 0.5 s; failed before the work\n    $ make red" in text
    assert "    $ make one\n      make two\n    | one\n    | two\n    | the end\n" in text
    assert f"    orchestrator logs {stored} --evidence e3\n" in text


def test_the_json_is_a_run_of_status_with_gates(stored: str, tmp_path: Path) -> None:
    shown = json.loads(orchestrate("report", stored, "--json", cwd=tmp_path).stdout)
    (run,) = json.loads(orchestrate("status", stored, "--json", cwd=tmp_path).stdout)["runs"]
    gates = [task.pop("gates") for task in shown["tasks"]]
    assert [task.pop("findings") for task in shown["tasks"]] == [[]] * 5
    undeclared = [task.pop("undeclared_files") for task in shown["tasks"]]
    assert undeclared == [["src/other.py", "uv.lock"], [], [], [], []]
    assert shown == {"schema": 1, **run}
    assert gates[0][0] == {
        **{"gate": "verify-1", "command": "make proof", "source": "task", "verdict": "pass", "exit_code": 0},
        **{"seconds": 0.5, "evidence": "e3", "before": "red", "with_old_checks": None, "flaky": False},
        "runs": 1,
    }
    assert [[gate["before"] for gate in each] for each in gates[1:]] == [
        ["already_green"],
        [],
        ["red"],
        [None],
    ]


class Reader(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def hostile() -> str:
    remember(
        (
            *(begun_with(HOSTILE), BASE_CHECKED, ON_BRANCH, task_started("1"), attempt(1, "1")),
            *(ended("failed", 1, "1", reason=HOSTILE), candidate(1, "1")),
            gate_of("1", "fail", "e1", f"{HOSTILE}\n```\n# more", tail=HOSTILE),
            *(asked(task="1"), answered(text=HOSTILE), finished("failed", None, "1"), run_ended("failed", 1)),
        )
    )
    return RUN


def test_the_page_needs_nothing_and_shows_foreign_text_as_text(hostile: str, tmp_path: Path) -> None:
    page = orchestrate("report", hostile, "--html", cwd=tmp_path).stdout.decode()
    reader = Reader()
    reader.feed(page)
    assert not reader.tags & {"script", "link", "img", "iframe", "object", "svg", "a", "base", "form"}
    assert not reader.attributes & {"src", "href", "onload", "onclick"} and "url(" not in page
    assert reader.words.count("<script>alert(1)</script>") >= 4
    assert not {"\x1b", "\u202e"} & set(page)


def test_the_markdown_shows_foreign_text_as_text(hostile: str, tmp_path: Path) -> None:
    text = orchestrate("report", hostile, "--md", cwd=tmp_path).stdout.decode()
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    inner = [child.type for token in tokens for child in token.children or ()]
    assert "html_inline" not in inner and "link_open" not in inner and "image" not in inner
    assert "html_block" not in [token.type for token in tokens]
    rows = [token for token in tokens if token.type == "tr_open"]
    assert len(rows) == 6
    assert not {"\x1b", "\u202e"} & set(text)
    spoken = "".join(
        child.content for token in tokens for child in token.children or () if child.type == "text"
    )
    assert "@someone" in spoken and "@someone" not in "".join(
        line for line in text.splitlines() if "make" in line or line.startswith("#")
    )


def test_a_run_without_attempts_and_one_that_is_not_there(tmp_path: Path) -> None:
    remember((begun(), BASE_CHECKED, run_ended("failed", 2)))
    for form in ((), ("--md",), ("--html",), ("--json",)):
        done = orchestrate("report", RUN, *form, cwd=tmp_path)
        assert done.returncode == 0 and done.stderr == b"", done
    missing = orchestrate("report", "nothing", cwd=tmp_path)
    assert missing.returncode == 2 and missing.stdout == b""
