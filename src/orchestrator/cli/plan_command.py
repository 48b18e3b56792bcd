"""`orchestrator plan show|check|new`: show, check or write a plan; nothing is run."""

import argparse
import json
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli.host import this_host
from orchestrator.cli.words import print_help_of
from orchestrator.errors import PlanError, UsageError
from orchestrator.plan.diagnostics import describe
from orchestrator.plan.model import FORMATS, Diagnostic, EndToEnd, Plan, Severity, Task
from orchestrator.plan.skeleton import render_skeleton
from orchestrator.text import one_line, plain

if TYPE_CHECKING:
    from orchestrator.config import Settings


def add_plan(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=print_help_of(parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    show_parser = commands.add_parser("show", help="show the tasks of a plan and their order")
    show_parser.add_argument("plan", metavar="PLAN", type=Path, help="the plan's path")
    show_parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    _add_format(show_parser)
    show_parser.set_defaults(handler=show)
    check_parser = commands.add_parser("check", help="report errors and warnings in plans")
    check_parser.add_argument("plans", metavar="PLAN", type=Path, nargs="+", help="paths of plans")
    check_parser.add_argument("--strict", action="store_true", help="treat warnings as errors")
    _add_format(check_parser)
    check_parser.set_defaults(handler=check)
    new_parser = commands.add_parser("new", help="write the skeleton of a plan")
    new_parser.add_argument("title", metavar="TITLE", nargs="?", default="", help="the plan's title")
    new_parser.add_argument(
        "--prompt",
        action="store_true",
        help="print instructions for a coding agent that writes the plan with you; also a skill (SKILL.md)",
    )
    new_parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the file to write; default: a name made from TITLE; - is standard output",
    )
    new_parser.set_defaults(handler=new)


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=FORMATS, help="how to read the plan; default: detected from its content"
    )


def show(arguments: argparse.Namespace) -> int:
    from orchestrator.project.plan_files import read_plan_file

    plan = read_plan_file(arguments.plan, arguments.format).plan
    if arguments.json:
        print(json.dumps(as_json(plan), ensure_ascii=False, indent=2))
    else:
        print("\n".join(_describe(plan, _load_settings())))
    return 2 if plan.errors else 0


def check(arguments: argparse.Namespace) -> int:
    """A plan that cannot be read does not keep the others from being checked."""
    settings = _load_settings()
    return max(
        _check_one(path, arguments.format, settings, strict=arguments.strict) for path in arguments.plans
    )


def _load_settings() -> "Settings":
    """The settings in the current folder, without those of the repository that need approval."""
    from orchestrator.cli.host import this_host
    from orchestrator.config import load_settings

    host = this_host()
    return load_settings(host.repository_folder(), environ=host.environ, leave_out_unapproved=True).settings


def _check_one(path: Path, format: str | None, settings: "Settings", *, strict: bool) -> int:
    from orchestrator.commands.checks import describe_unchecked, diagnostics_of
    from orchestrator.project.plan_files import read_plan_file

    try:
        plan = read_plan_file(path, format).plan
    except (PlanError, UsageError) as error:
        print(plain(f"error: {error}"), file=sys.stderr)
        return 2
    diagnostics = diagnostics_of(plan, settings)
    severities = [_severity(entry, strict=strict) for entry in diagnostics]
    for entry, severity in zip(diagnostics, severities, strict=True):
        print(describe(replace(entry, severity=severity), path=plan.path))
    if not severities:
        print(f"{plain(plan.path)}: {_count(len(plan.tasks), 'task')}, nothing to report")
    unchecked = describe_unchecked([task for task in plan.tasks if not task.done], settings)
    if unchecked is not None:
        print(f"{plain(plan.path)}: {unchecked}")
    return 2 if "error" in severities else 0


def new(arguments: argparse.Namespace) -> int:
    if arguments.prompt:
        from importlib import resources

        page = resources.files("orchestrator.cli") / "writing_plans.md"
        print(page.read_text("utf-8"), end="")
        return 0
    title = one_line(arguments.title, 200)
    if not title:
        raise UsageError(
            "the title is empty",
            hint="Give the milestone a title, for example: orchestrator plan new 'Greeting'",
        )
    from orchestrator.commands.plan_new import choose_test_commands

    name = _slug(title)
    text = render_skeleton(title, name, choose_test_commands(this_host()))
    if arguments.output == "-":
        print(text, end="")
        return 0
    path = Path(arguments.output or f"{name}.md")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        hint = "Choose another file with --output FILE."
        raise UsageError("the file already exists", where=str(path), hint=hint) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"the plan cannot be written: {error}", hint="Choose --output FILE.") from None
    print(plain(str(path)))
    return 0


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as `plan show --json` prints it; docs/plan-format.md describes every field."""
    return {
        "schema": 1,
        "path": plan.path.encode("utf-8", "replace").decode("utf-8"),
        "format": plan.format,
        "id": plan.id,
        "title": plan.title,
        "branch": plan.branch,
        "goal": plan.goal,
        "tasks": [_task_as_json(task) for task in plan.tasks],
        "e2e": None if plan.end_to_end is None else _scenario_as_json(plan.end_to_end),
        "diagnostics": [asdict(entry) for entry in plan.diagnostics],
    }


def _scenario_as_json(scenario: EndToEnd) -> dict[str, Any]:
    return {
        "commands": list(scenario.commands),
        "text": scenario.text,
        "lines": [scenario.lines.first, scenario.lines.last],
    }


def _task_as_json(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "title": task.title,
        "type": task.type,
        "files": list(task.files),
        "depends_on": list(task.depends_on),
        "acceptance": [{"text": entry.text, "done": entry.done} for entry in task.acceptance],
        "verify": list(task.verify),
        "estimate_minutes": task.estimate_minutes,
        "done": task.done,
        "lines": [task.lines.first, task.lines.last],
        "hash": task.hash,
    }


def _describe(plan: Plan, settings: "Settings") -> Iterator[str]:
    yield one_line(plan.title)
    facts = [plan.format, _count(len(plan.tasks), "task")]
    if plan.branch is not None:
        facts.append(f"branch {one_line(plan.branch)}")
    minutes = sum(task.estimate_minutes or 0 for task in plan.tasks)
    if minutes:
        facts.append(f"estimated {_duration(minutes)}")
    yield f"{one_line(plan.path)}: " + ", ".join(facts)
    yield ""
    yield _table(plan.tasks, settings)
    yield ""
    yield from _graph(plan)
    if plan.end_to_end is not None or settings.verify.milestone:
        yield ""
        yield _describe_end_to_end(plan, settings)
    if plan.diagnostics:
        yield ""
        yield from (describe(entry, path=plan.path) for entry in plan.diagnostics)


def _describe_end_to_end(plan: Plan, settings: "Settings") -> str:
    added = _count_configured(settings.verify.milestone)
    if plan.end_to_end is None:
        return f"End to end: 0 commands{added}"
    lines = plan.end_to_end.lines
    commands = _count(len(plan.end_to_end.commands), "command")
    return f"End to end: {commands}{added}, lines {lines.first}-{lines.last}"


def _table(tasks: Sequence[Task], settings: "Settings") -> str:
    from orchestrator.cli.host import find_terminal_columns
    from orchestrator.cli.screen import shorten_end
    from orchestrator.cli.tables import WHOLE, Flexible, table

    rows = [
        (
            one_line(task.id, WHOLE),
            task.type or "-",
            "-" if task.estimate_minutes is None else _duration(task.estimate_minutes),
            "done" if task.done else str(len(task.acceptance)),
            _gates(task, settings),
            f"{task.lines.first}-{task.lines.last}",
            one_line(task.title, WHOLE),
        )
        for task in tasks
    ]
    header = ("task", "type", "time", "criteria", "verify", "lines", "title")
    return table(header, rows, screen=find_terminal_columns(), flexible=(Flexible(6, shorten_end),))


def _gates(task: Task, settings: "Settings") -> str:
    """The task's own commands, and those of `verify.task` that it does not name itself."""
    own = {command.strip() for command in task.verify}
    smoke = f" +{len(task.smoke_tests)} smoke" if task.smoke_tests else ""
    added = [command for command in settings.verify.task if command.strip() not in own]
    return f"{len(task.verify)}{smoke}{_count_configured(added)}"


def _count_configured(commands: Sequence[str]) -> str:
    return f" +{len(commands)} configured" if commands else ""


def _graph(plan: Plan) -> Iterator[str]:
    """One line for each task in the order of work, with what it waits for."""
    from orchestrator.plan.graph import order_tasks

    yield "Order of work:"
    for number, task in enumerate(order_tasks(plan), 1):
        waits = ", ".join(one_line(name, 24) for name in task.depends_on)
        yield f"{number:>4}. {one_line(task.id, 24)}" + (f" <- {waits}" if waits else "")


def _severity(entry: Diagnostic, *, strict: bool) -> Severity:
    return "error" if strict and entry.severity == "warning" else entry.severity


def _duration(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    return (
        " ".join(part for part in (f"{hours} h" if hours else "", f"{rest} min" if rest else "") if part)
        or "0"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _slug(title: str) -> str:
    """Letters and digits of the title as a file and branch name; never empty, hidden, or an option."""
    words = re.findall(r"\w+", unicodedata.normalize("NFC", title).lower().replace("_", " "))
    return "-".join(words)[:60].strip("-") or "plan"
