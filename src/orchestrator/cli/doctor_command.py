"""`doctor`: report whether a run can start here, and list every setting with its source."""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.cli.host import this_host
from orchestrator.errors import UsageError
from orchestrator.text import one_line

if TYPE_CHECKING:
    from orchestrator.config import Row
    from orchestrator.preflight.site import Finding

MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "skipped": "-"}


def add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", metavar="NAME", help="only this check")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(handler=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """Exit code 1 when a check failed; a configuration that cannot be read is an error of its own."""
    import asyncio

    from orchestrator.config import load_settings
    from orchestrator.preflight.checks import CHECKS, examine

    if arguments.check is not None and arguments.check not in CHECKS:
        raise UsageError(f"unknown check {arguments.check}", hint=f"Known checks: {', '.join(CHECKS)}")
    host = this_host()
    loaded = load_settings(host.folder, environ=host.environ, leave_out_unapproved=True)
    checks = asyncio.run(examine(host, loaded, arguments.check))
    healthy = all(check.status != "failed" for check in checks.values())
    if arguments.json:
        print(as_json(checks, loaded.rows, ok=healthy))
    else:
        print("\n".join(describe_checks(checks)))
        if arguments.check is None:
            print(f"\n{settings_table(loaded.rows)}")
    return 0 if healthy else 1


def describe_checks(checks: "Mapping[str, Finding]") -> list[str]:
    """A line for each check, and below it a line with the fix."""
    lines = []
    for name, check in checks.items():
        lines.append(f"{MARKS[check.status]} {name:<14}  {one_line(check.detail, 300)}")
        if check.fix is not None:
            lines.append(f"  {'':<14}  → {one_line(check.fix, 300)}")
    return lines


def settings_table(rows: "Sequence[Row]") -> str:
    """Every setting with its source; changed settings come before the defaults."""
    from orchestrator.cli.tables import table

    ordered = sorted(rows, key=lambda row: row.source == "default")
    cells = [(row.key, one_line(_format_value(row.value), 60), one_line(row.source, 200)) for row in ordered]
    return table(("setting", "value", "from"), cells)


def as_json(checks: "Mapping[str, Finding]", rows: "Sequence[Row]", *, ok: bool) -> str:
    found = {
        "schema": 1,
        "ok": ok,
        "checks": [
            {"name": name, "status": check.status, "detail": check.detail, "mend": check.fix}
            for name, check in checks.items()
        ],
        "settings": [{"key": row.key, "value": row.value, "source": row.source} for row in rows],
    }
    # A path whose name is not UTF-8 is shown with replaced bytes.
    text = json.dumps(found, ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace").decode("utf-8")


def _format_value(value: object) -> str:
    return "-" if value is None else json.dumps(value, ensure_ascii=False, default=str)
