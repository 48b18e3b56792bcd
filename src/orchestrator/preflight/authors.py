"""Finds the attempt that wrote a file which decides about a run: the configuration, or a file of its image.

An agent that fails its gates would only have to rewrite `verify.task` if a resumed run took the file as it
finds it. So a file that an attempt has changed is used only after the user has committed it themselves. Three
traces show that an attempt has written something:

- the copies of the configuration file from the start and the end of each attempt. They also show what an
  attempt did to a file that git does not track;
- the trees of attempts. A file that the agent wrote under another name and the user moved is in them too;
- the commits on the branch: those of tasks, and those in which the orchestrator committed changes by hand,
  do not count as the user's.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from orchestrator.config import REPOSITORY_FILE, read_values
from orchestrator.containers.names import component
from orchestrator.errors import ConfigurationError
from orchestrator.files import read_regular
from orchestrator.project.project import Project
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.run.facts import AttemptStarted, CandidateMade, EditsCommitted, TreeSaved
from orchestrator.run.state import RunState
from orchestrator.supervision.plan_edits import is_in_flight
from orchestrator.text import plain
from orchestrator.workspace import history
from orchestrator.workspace.differences import list_differences

LARGEST_FILE = 100_000_000  # bytes


class _Attempt(NamedTuple):
    run: str
    task: str
    number: int
    parent: str
    commits: Mapping[str, str]
    """Its candidates and the folder as it was saved, each with the commit that it is compared with.

    The parent of a candidate that was made at a resume has what the user changed in between.
    """

    def __str__(self) -> str:
        return f"attempt {self.number} of task {plain(self.task)} (run {self.run})"


async def refuse_configuration_of_attempt(
    project: Project, state: RunState, present: bytes, stored: bytes
) -> None:
    """Raises ConfigurationError when an attempt wrote the present configuration file, or a setting in it.

    `stored` is the file that the run uses. A missing file is an empty one.
    """
    if present == stored:
        return
    # The attempt's end is not recorded yet, so what it left in the folder was not compared with anything.
    if is_in_flight(state):
        raise ConfigurationError(
            f"an attempt of run {state.run} was interrupted, and may have changed this file",
            where=REPOSITORY_FILE,
            hint=f"Continue without --take-config first: orchestrator resume {state.run}",
        )
    attempts = await _list_attempts(project)
    if await _is_users_own(project, state, REPOSITORY_FILE):
        return
    content = await history.hash_of(project.workspace.store, present)
    for attempt in attempts:
        folders = project.catalog.folder(attempt.run).attempt(component(attempt.task), attempt.number)
        if await _has_written(project, attempt, content) or _read_left_configuration(folders) == present:
            # Also if it made a file of this content under another name, because a name can be changed later.
            raise _refuse_to_take(f"this file was written by {attempt}", REPOSITORY_FILE)
        changed = _find_setting_of_attempt(folders, present, stored)
        if changed is not None:
            raise _refuse_to_take(f"`{changed}` was changed by {attempt}", REPOSITORY_FILE)


async def reason_to_keep_image(project: Project, state: RunState, dockerfile: str) -> str | None:
    """Why no image is built from the current files although they have changed; None: it may be built.

    The Dockerfile is a path in the code folder. If it has not changed itself, an attempt's changes to other
    files of its folder are part of the work, and no reason to refuse. Raises ConfigurationError when an
    attempt has changed the Dockerfile, or when a changed Dockerfile would be built with files of an attempt.
    Files that git ignores are not compared.
    """
    found = await _find_file_of_attempt(project, state, lambda path: path == dockerfile)
    folder = dockerfile.rpartition("/")[0]
    inside = await _find_file_of_attempt(
        project, state, lambda path: not folder or path.startswith(f"{folder}/")
    )
    if found is None and inside is None:
        return None
    path, attempt = found or inside or ("", "")
    store, present = project.workspace.store, _read_entry(project.folder / dockerfile)
    at_start = await history.blob_of(store, state.start.base, dockerfile)
    if found is not None or present is None or await history.hash_of(store, present) != at_start:
        raise _refuse_to_take(f"this file was written by {attempt}", path)
    return f"{path} was changed by {attempt}, so the image is not built again"


async def _find_file_of_attempt(
    project: Project, state: RunState, is_meant: Callable[[str], bool]
) -> tuple[str, str] | None:
    """A path of this kind that an attempt changed and the user has not committed since, and the attempt."""
    own: set[str] = set()
    for attempt in await _list_attempts(project):
        for commit, parent in attempt.commits.items():
            differences = await list_differences(project.workspace.store.git, parent, commit)
            for path in {each.path for each in differences if is_meant(each.path)} - own:
                if not await _is_users_own(project, state, path):
                    return path, str(attempt)
                own.add(path)
    return None


def _refuse_to_take(what: str, where: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what}, so --take-config does not use it",
        where=where,
        hint=f"Review the file and commit it yourself, then try again: git add {where} && git commit",
    )


async def _list_attempts(project: Project) -> list[_Attempt]:
    """The attempts of all runs of this folder, newest run first, as far as their work is still kept."""
    runs = [outline.run for outline in project.catalog.outlines(project.folder, tasks=())]
    kinds = (AttemptStarted.kind, CandidateMade.kind, TreeSaved.kind)
    found: dict[tuple[str, str, int], _Attempt] = {}
    for fact in project.journal.facts_of_kinds(runs, kinds):
        key = (fact.run, fact.task or "", fact.attempt or 0)
        match fact.body:
            case AttemptStarted(parent=parent):
                found[key] = _Attempt(*key, parent, {})
            case CandidateMade(commit=commit, parent=parent):
                known = found[key]
                found[key] = known._replace(commits={**known.commits, commit: parent})
            case TreeSaved(commit=commit):
                known = found[key]
                found[key] = known._replace(commits={**known.commits, commit: known.parent})
    commits = frozenset(commit for each in found.values() for commit in (each.parent, *each.commits))
    there = await history.filter_existing(project.workspace.store, commits)
    return [
        each._replace(commits={commit: parent for commit, parent in each.commits.items() if commit in there})
        for each in found.values()
        if each.parent in there
    ]


async def _is_users_own(project: Project, state: RunState, path: str) -> bool:
    """Whether the file is as the branch has it, and the last commit that changed it is the user's.

    Without such a commit since the run's base, the file is the one from before the run.
    """
    store = project.workspace.store
    tip = (await project.workspace.user.head()).commit
    committed = await history.blob_of(store, tip, path)
    present = await asyncio.to_thread(_read_entry, project.folder / path)
    if present is not None or committed is not None:
        # A checkout may have converted the ends of lines.
        texts = (present or b"", (present or b"").replace(b"\r\n", b"\n"))
        if present is None or committed not in [await history.hash_of(store, text) for text in texts]:
            return False
    last = await history.last_change(store, tip=tip, base=state.start.base, path=path)
    return last is None or not (history.names_run(last.message) or last.commit in list_edits(project))


def _read_entry(path: Path) -> bytes | None:
    """The content of a file or of a link as git would store it; None when there is neither.

    No git command reads the folder here: an agent may have left a pipe in it that blocks git.
    """
    try:
        return os.fsencode(path.readlink()) if path.is_symlink() else read_regular(path, limit=LARGEST_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return b"\0"  # something that git stores under no such content


def list_edits(project: Project) -> frozenset[str]:
    """The commits in which the orchestrator committed the user's changes: an agent's file may be in them."""
    runs = [outline.run for outline in project.catalog.outlines(project.folder, tasks=())]
    facts = project.journal.facts_of_kinds(runs, (EditsCommitted.kind,))
    return frozenset(fact.body.commit for fact in facts if isinstance(fact.body, EditsCommitted))


async def _has_written(project: Project, attempt: _Attempt, blob: str) -> bool:
    """Whether the attempt made a file with this content, under any name."""
    for commit, parent in attempt.commits.items():
        differences = await list_differences(project.workspace.store.git, parent, commit)
        if blob in (difference.blob for difference in differences):
            return True
    return False


def _read_left_configuration(folders: AttemptFolders) -> bytes | None:
    """The configuration file that the attempt left; None when it did not change the file."""
    after = folders.configuration_after
    return after.read_bytes() if after.exists() else None


def _find_setting_of_attempt(folders: AttemptFolders, present: bytes, stored: bytes) -> str | None:
    """A setting that the attempt changed, and that still has the attempt's value in the present file."""
    left = _read_left_configuration(folders)
    if left is None or not folders.configuration_before.exists():
        return None
    before, after = read_values(folders.configuration_before.read_bytes()), read_values(left)
    now, kept = read_values(present), read_values(stored)
    changed = _list_differing_keys(before, after)
    return next((key for key in changed if now.get(key) == after.get(key) != kept.get(key)), None)


def _list_differing_keys(first: Mapping[str, object], second: Mapping[str, object]) -> Iterable[str]:
    return [key for key in {**first, **second} if first.get(key) != second.get(key)]
