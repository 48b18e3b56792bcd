"""Finds dependencies that a run will not install, because they have no lock file. Pure.

A run without its dependencies costs money before anybody sees why it fails, so the user reads this first.
"""

import json
from collections.abc import Iterable

from orchestrator.gates.detection import DetectedProject
from orchestrator.gates.discovery import UNKNOWN_LOCKS

_DEEPEST = 2


def describe_uninstalled(
    project: DetectedProject, files: Iterable[str], folders: Iterable[str]
) -> tuple[str, ...]:
    """Notices for a project whose dependencies setup does not install, or not all; empty when it does.

    `files` are the paths that git tracks, `folders` those of `setup.folders`.
    """
    unknown = [path for path in sorted(files) if _is_unknown_lock(path)]
    below = [folder for folder in project.folders if folder not in set(folders)]
    if project.setup:
        commands = [json.dumps(command, ensure_ascii=False) for command in project.setup]
        reason = _describe_reason(project, unknown)
        return (f"{reason}. For setup.commands in orchestrator.toml:", *commands, *project.notes)
    found = []
    if unknown:
        found.append(
            f"{', '.join(unknown)}: setup does not know this lock file, so nothing is installed from it. "
            "Set setup.commands in orchestrator.toml."
        )
    if below:
        named = json.dumps(below, ensure_ascii=False)
        found.append(
            f"lock files below the root are used only if you name their folders: set setup.folders = {named}"
        )
    return (*found, *project.notes)


def _describe_reason(project: DetectedProject, unknown: list[str]) -> str:
    if unknown:
        return f"{', '.join(unknown)}: setup does not know this lock file, so nothing is installed from it"
    if not project.lock_files:
        return "no lock file found: nothing will be installed"
    return f"setup installs from {', '.join(project.lock_files)}, which leaves out dependencies"


def _is_unknown_lock(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return name in UNKNOWN_LOCKS and len(folder.split("/")) <= _DEEPEST and not _is_sample(folder)


def _is_sample(folder: str) -> bool:
    return bool({"test", "tests", "fixtures", "examples", "example", "vendor"} & set(folder.split("/")))
