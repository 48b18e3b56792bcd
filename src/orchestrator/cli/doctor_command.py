"""`doctor`: whether a run could start here, and every setting with its source."""

import argparse
import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.tables import table
from orchestrator.errors import UsageError
from orchestrator.events import one_line

if TYPE_CHECKING:
    from orchestrator.config import LoadedSettings
    from orchestrator.doctor import Check

MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "skipped": "-"}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "doctor", help="check folder, engine, image and credential; show the settings"
    )
    parser.add_argument("--check", metavar="NAME", help="only this check")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(handler=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    from orchestrator.config import load_settings
    from orchestrator.doctor import CHECKS, Surroundings, examine

    if arguments.check is not None and arguments.check not in CHECKS:
        raise UsageError(f"there is no check {arguments.check}", hint=f"There are: {', '.join(CHECKS)}")
    folder = Path.cwd()
    loaded = load_settings(folder, environ=os.environ)
    here = Surroundings(folder=folder, environ=os.environ, loaded=loaded)
    checks = asyncio.run(examine(here, arguments.check))
    healthy = all(check.status != "failed" for check in checks)
    if arguments.json:
        _print_json(checks, loaded, healthy=healthy)
    else:
        _print(checks, loaded)
    return 0 if healthy else 1


def _print(checks: "tuple[Check, ...]", loaded: "LoadedSettings") -> None:
    for check in checks:
        print(f"{MARKS[check.status]} {check.name:<15} {one_line(check.detail, 300)}")
        if check.mend is not None and check.status in ("failed", "warning"):
            print(f"  {'':<15} → {one_line(check.mend, 300)}")
    rows = [(row.key, one_line(_shown(row.value), 60), row.source) for row in loaded.rows]
    print()
    print(table(("setting", "value", "from"), rows))


def _shown(value: object) -> str:
    import json

    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _print_json(checks: "tuple[Check, ...]", loaded: "LoadedSettings", *, healthy: bool) -> None:
    import json
    from dataclasses import asdict

    settings = [{"key": row.key, "value": row.value, "source": row.source} for row in loaded.rows]
    found = {"schema": 1, "ok": healthy, "checks": [asdict(check) for check in checks], "settings": settings}
    print(json.dumps(found, ensure_ascii=False, default=str))
