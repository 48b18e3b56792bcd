"""`doctor`: report whether a run can start here, and list every setting with its source."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.cli.host import this_host
from orchestrator.cli.run_command import add_start_options, read_start_options
from orchestrator.errors import UsageError
from orchestrator.text import one_line, plain

if TYPE_CHECKING:
    from orchestrator.config import Row
    from orchestrator.preflight.site import Finding

MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "skipped": "-"}


def add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", metavar="NAME", help="only this check")
    parser.add_argument("--all", action="store_true", help="also list the settings that have their default")
    parser.add_argument(
        "--fix", action="store_true", help="build the image, close the state folder, remove ended containers"
    )
    parser.add_argument("--yes", action="store_true", help="with --fix: ask nothing")
    add_start_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(handler=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """Exit code 1 when a check failed; a configuration that cannot be read is an error of its own."""
    import asyncio

    from orchestrator.commands.doctor import DoctorRequest
    from orchestrator.commands.doctor import doctor as diagnose
    from orchestrator.preflight.checks import CHECKS

    if arguments.check is not None and arguments.check not in CHECKS:
        raise UsageError(f"unknown check {arguments.check}", hint=f"Known checks: {', '.join(CHECKS)}")
    request = DoctorRequest(only=arguments.check, options=read_start_options(arguments))
    if arguments.fix:
        from orchestrator.commands.fixes import carry_out_fixes

        agrees = _has_agreed if arguments.yes else _choose_asking()
        found = asyncio.run(carry_out_fixes(this_host(), request, agrees=agrees, say=_print_apart))
    else:
        found = asyncio.run(diagnose(this_host(), request))
    if arguments.json:
        print(as_json(found.checks, found.loaded.rows, ok=found.is_healthy))
        return 0 if found.is_healthy else 1
    print("\n".join(describe_checks(found.checks)))
    rows = [row for row in found.loaded.rows if arguments.all or row.source != "default"]
    if rows and (arguments.all or arguments.check is None):
        print(f"\n{settings_table(rows)}")
    print(f"\n{summarize_checks(found.checks)}")
    return 0 if found.is_healthy else 1


def _has_agreed(_question: str) -> bool:
    return True


def _choose_asking() -> "Callable[[str], bool]":
    if not sys.stdin.isatty():
        raise UsageError(
            "--fix asks before it changes something, and standard input is not a terminal",
            hint="To let it change everything that it can: orchestrator doctor --fix --yes",
        )
    return _ask


def _ask(question: str) -> bool:
    try:
        return input(f"{question}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _print_apart(line: str) -> None:
    """On standard error, so that --json stays one object."""
    print(plain(line), file=sys.stderr, flush=True)


def describe_checks(checks: "Mapping[str, Finding]") -> list[str]:
    """A line for each check, and below it a line for each step that fixes it."""
    lines = []
    for name, check in checks.items():
        lines.append(f"{MARKS[check.status]} {name:<14}  {one_line(check.detail, 300)}")
        lines += [f"  {'':<14}  → {one_line(step, 2000)}" for step in (check.fix or "").splitlines()]
    return lines


def summarize_checks(checks: "Mapping[str, Finding]") -> str:
    """Whether a run can start, and the names of the checks that say why not."""
    failed = [name for name, check in checks.items() if check.status == "failed"]
    warned = [name for name, check in checks.items() if check.status == "warning"]
    warnings = f"; warnings: {', '.join(warned)}" if warned else ""
    if failed:
        return f"A run cannot start here: {', '.join(failed)}{warnings}"
    return f"A run can start here{warnings}" if len(checks) > 1 else "The check passed" + warnings


def settings_table(rows: "Sequence[Row]") -> str:
    """Settings with their sources; changed settings come before the defaults."""
    from orchestrator.cli.host import find_terminal_columns
    from orchestrator.cli.screen import shorten_end
    from orchestrator.cli.tables import WHOLE, Flexible, table

    ordered = sorted(rows, key=lambda row: row.source == "default")
    cells = []
    for row in ordered:
        value = "-" if row.value is None else json.dumps(row.value, ensure_ascii=False, default=str)
        cells.append((row.key, one_line(value, WHOLE), one_line(row.source, 200)))
    flexible = (Flexible(1, shorten_end), Flexible(2, shorten_end))
    return table(("setting", "value", "from"), cells, screen=find_terminal_columns(), flexible=flexible)


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
