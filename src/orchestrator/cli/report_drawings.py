"""A report as plain text, as Markdown, and as one HTML page. All text in it is foreign and is escaped."""

import re
from collections.abc import Iterator
from pathlib import Path

from orchestrator.cli.report_page import CheckLine, Page, TaskPart

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def draw_text(page: Page) -> str:
    return "\n".join(_text_lines(page))


def _text_lines(page: Page) -> Iterator[str]:
    yield f"run {page.run} {page.status}: {page.title}"
    yield from (f"  {name:<12} {value}" for name, value in page.details)
    if page.first:
        yield from ("", "Check this first")
        yield from (f"  {line}" for line in page.first)
    for task in page.tasks:
        yield from ("", f"task {task.id} {task.status}: {task.title}")
        yield from (f"  {name:<12} {value}" for name, value in task.details)
        for check in task.checks:
            yield from _text_of_check(check)
        yield from (f"  attempt {attempt}" for attempt in task.attempts)
        yield from (f"  question {question}" for question in task.questions)
    if page.scenario:
        yield from ("", "end to end")
        for check in page.scenario:
            yield from _text_of_check(check)
    yield ""
    yield from page.next.before
    yield f"next: {page.next.command}"


def _text_of_check(check: CheckLine) -> Iterator[str]:
    first, *more = check.command.splitlines() or [""]
    yield f"  {check.name:<12} {check.result}; {check.before}"
    yield f"    $ {first}"
    yield from (f"      {line}" for line in more)
    yield from (f"    | {line}" for line in check.tail.splitlines())
    yield f"    {check.evidence}"


def draw_markdown(page: Page) -> str:
    """For a pull request: CommonMark with a table, in which foreign text is never markup."""
    return "\n".join(_markdown_lines(page))


def _markdown_lines(page: Page) -> Iterator[str]:
    yield f"# {_escape(page.title)}: {page.status}"
    yield ""
    yield from (f"- {name}: {_escape(value)}" for name, value in page.details)
    if page.first:
        yield from ("", "## Check this first", "")
        yield from (f"- {_escape(line)}" for line in page.first)
    yield from (
        "",
        "## Tasks",
        "",
        "| task | title | status | commit | verification |",
        "|---|---|---|---|---|",
    )
    for task in page.tasks:
        known = dict(task.details)
        cells = (task.id, task.title, task.status, known.get("commit", "-"), known.get("verification", "-"))
        yield f"| {' | '.join(_escape(cell) for cell in cells)} |"
    for task in page.tasks:
        yield from _markdown_of_task(task)
    if page.scenario:
        yield from ("", "## End to end", "")
        for check in page.scenario:
            yield from _markdown_of_check(check)
    yield from ("", f"Made from run {_code(page.run)}: {_code(f'orchestrator report {page.run}')}")


def _markdown_of_task(task: TaskPart) -> Iterator[str]:
    if not (task.checks or task.attempts or task.questions):
        return
    yield from ("", f"### {_escape(task.id)}: {_escape(task.title)}", "")
    for check in task.checks:
        yield from _markdown_of_check(check)
    yield from (f"- attempt {_escape(attempt)}" for attempt in task.attempts)
    yield from (f"- question {_escape(question)}" for question in task.questions)


def _markdown_of_check(check: CheckLine) -> Iterator[str]:
    first, *more = check.command.splitlines() or [""]
    lines = f" … ({len(more) + 1} lines)" if more else ""
    yield f"- {_escape(check.name)}: {check.result}; {check.before}: {_code(first)}{lines}"


def _escape(text: str) -> str:
    return _MARKUP.sub(r"\\\1", text).replace("@", "&#64;")  # else it would notify the user with that name


def _code(text: str) -> str:
    """A code span that ends where it should, also for text with backticks."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{text}{space}{fence}"


def draw_html(page: Page) -> str:
    """One page that needs nothing else: no script, no style sheet, no picture, no font."""
    from jinja2 import Environment, StrictUndefined  # slow to import, and only --html needs it

    template = Path(__file__).with_name("report.html.jinja").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(page=page)
