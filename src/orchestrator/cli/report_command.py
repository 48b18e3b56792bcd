"""`report`: what a run has done and what shows it, as text, JSON, Markdown or an HTML page."""

import argparse

from orchestrator.cli.host import this_host
from orchestrator.cli.tables import View
from orchestrator.cli.words import RUN_HELP
from orchestrator.project.catalog import open_catalog
from orchestrator.text import utc_text


def add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object on standard output")
    form.add_argument("--md", action="store_true", help="Markdown, for a pull request")
    form.add_argument("--html", action="store_true", help="one HTML page that needs nothing else")
    parser.set_defaults(handler=report)


def report(arguments: argparse.Namespace) -> int:
    host = this_host()
    with open_catalog(host) as runs:
        state = runs.find(arguments.run)
        owner = runs.owner(state.run)
    if arguments.json:
        import msgspec

        from orchestrator.run.proof import report_json

        print(msgspec.json.encode({"schema": 1, **report_json(state, owner)}).decode())
        return 0
    from orchestrator.cli.report_drawings import draw_html, draw_markdown, draw_text
    from orchestrator.cli.report_page import make_page

    draw = draw_html if arguments.html else draw_markdown if arguments.md else draw_text
    print(draw(make_page(state, View(owner=owner, here=host.folder, now=utc_text(host.clock.now())))))
    return 0
