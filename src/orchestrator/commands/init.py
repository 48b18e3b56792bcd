"""`init`: write a configuration with what is found in a repository.

What was found is in force at once; everything else is a comment. Settings that need approval, such as the
packages of a toolchain, take effect after `orchestrator trust`.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from orchestrator.config import REPOSITORY_FILE
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.files import give_to
from orchestrator.gates.detection import DetectedProject
from orchestrator.project.host import Host
from orchestrator.project.manifest_files import NOT_THE_PROJECTS, find_project
from orchestrator.subprocesses import Identity
from orchestrator.workspace.folder import list_tracked

SECRETS_BELOW = (
    *(".env", ".env.*", "*.env", ".envrc", ".npmrc", ".pypirc", "*.tfvars"),
    *("credentials.json", "service-account*.json", "secrets.json", "secrets.toml", "secrets.y*ml"),
)
"""Names of secrets in subfolders, without keys and certificates: those are mostly samples of tests."""
SECRETS = (
    *(*SECRETS_BELOW, ".netrc", ".pgpass", ".htpasswd", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore"),
)
SAMPLES = ("*.example", "*.sample", "*.template", "*.dist", "*.pub")
"""Not hidden from the agent, because they are meant to be read by others."""
_DEEPEST = 4
_MOST_FILES = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """The settings that `init` would write; the user may change them first."""

    path: Path
    project: DetectedProject
    tests: tuple[str, ...]
    packages: tuple[str, ...]
    secrets: tuple[str, ...]
    """Files to hide from the agent: those that git does not track."""
    tracked_secrets: tuple[str, ...] = ()
    """They stay visible: the agent can read them in git's history anyway, and the project may need them."""
    commits_handoff: bool | None = None
    """Whether the hand-off document is committed with the tasks; None: the user has not chosen."""


async def propose(host: Host) -> Proposal:
    """Look through the code folder. Raises UsageError when it has an orchestrator.toml already."""
    folder = host.code_folder()
    path = folder / REPOSITORY_FILE
    if os.path.lexists(path):
        raise _refuse_existing(path)
    project = find_project(folder)
    secrets = (*secrets_at_root(entry.name for entry in folder.iterdir()), *secrets_below(folder))
    tracked = await _find_tracked(folder, host, secrets)
    return Proposal(
        path=path,
        project=project,
        tests=project.tests,
        packages=project.packages,
        secrets=tuple(name for name in secrets if name not in tracked),
        tracked_secrets=tuple(name for name in secrets if name in tracked),
    )


def write_configuration(proposal: Proposal) -> None:
    """Write the file as its folder's owner. Raises UsageError when there is one, or it cannot be written."""
    owner = proposal.path.parent.stat()
    try:
        with proposal.path.open("x", encoding="utf-8") as file:
            file.write(render_configuration(proposal))
            give_to(file.fileno(), Identity(uid=owner.st_uid, gid=owner.st_gid))
    except FileExistsError:
        raise _refuse_existing(proposal.path) from None
    except OSError as error:
        raise UsageError(
            f"the file cannot be written: {error.strerror}",
            where=str(proposal.path),
            hint="Check the owner and the mode of the folder.",
        ) from None


def _refuse_existing(path: Path) -> UsageError:
    return UsageError(
        "the file already exists",
        where=str(path),
        hint="To see its settings: orchestrator doctor. To let init write a new file, rename this one first.",
    )


async def _find_tracked(folder: Path, host: Host, names: Sequence[str]) -> frozenset[str]:
    """Those of these files that git tracks; none where the repository cannot be read."""
    try:
        return await list_tracked(folder, host.environ, names) if names else frozenset()
    except OrchestratorError:
        return frozenset()


def secrets_at_root(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names at a repository's root that are usually secrets."""
    return tuple(name for name in sorted(names) if _is_secret(name, SECRETS))


def secrets_below(folder: Path) -> tuple[str, ...]:
    """Paths of secrets in subfolders, relative to `folder`; the search is bounded and follows no link."""
    found: list[str] = []
    seen = 0
    for project, folders, files in os.walk(folder):
        above = Path(project).relative_to(folder)
        folders[:] = sorted(set(folders) - NOT_THE_PROJECTS) if len(above.parts) < _DEEPEST else []
        seen += len(files)
        if seen > _MOST_FILES:
            break
        if above.parts:
            found += [str(above / name) for name in sorted(files) if _is_secret(name, SECRETS_BELOW)]
    return tuple(path for path in found if path.isprintable())


def _is_secret(name: str, patterns: tuple[str, ...]) -> bool:
    return name.isprintable() and _matches(name, patterns) and not _matches(name, SAMPLES)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in patterns)


def render_configuration(proposal: Proposal) -> str:
    """The text of an orchestrator.toml: what was found is in force, and the rest is a comment."""
    project = proposal.project
    languages = ", ".join(project.languages) or "no known language"
    lines = [
        "# Settings of the orchestrator for this repository. `orchestrator doctor` shows all of them.",
        f"# Detected: {languages}; lock files: {', '.join(project.all_locks) or 'none'}.",
        *(f"# {note}." for note in project.notes),
        "",
        "[verify]",
        "# Commands that every task must pass in addition to its own, and that pass before the first task.",
        _render_list("task", proposal.tests, instead="make test"),
        "# Commands that the milestone must pass after its last task.",
        "# milestone = []",
        "",
        "[setup]",
        "# Commands that install the dependencies; by default they follow from the lock files at the root,",
        "# and from those in the folders listed here.",
        _render_list("commands", project.setup),
        _render_list("folders", project.folders),
        "",
        "[image]",
        "# Debian packages to add to the image. They need your approval: orchestrator trust",
        _render_list("packages", proposal.packages, instead="postgresql"),
        "",
        "[masked]",
        "# Files that are empty for the agent.",
        _render_list("files", proposal.secrets, instead=".env"),
        "",
        "[handoff]",
        "# Each task leaves notes for the next one in HANDOFF_NAME.md beside the plan, which is committed",
        "# with the task. With false, the document is only in the state folder.",
        _render_choice("commit", proposal.commits_handoff, instead=True),
        "",
        "[limits]",
        "# attempts = 3",
        "# attempt_seconds = 14400",
    ]
    return "\n".join(lines) + "\n"


def _render_choice(key: str, chosen: bool | None, *, instead: bool) -> str:
    """A setting of true or false in TOML; a comment with the default `instead` if the user has not chosen."""
    return f"# {key} = {json.dumps(instead)}" if chosen is None else f"{key} = {json.dumps(chosen)}"


def _render_list(key: str, items: Sequence[str], *, instead: str | None = None) -> str:
    """A list of strings in TOML; where it is empty a comment, with the example `instead`."""
    if not items:
        return f"# {key} = {json.dumps([] if instead is None else [instead])}"
    if len(items) == 1 and "\n" not in items[0]:
        return f"{key} = {json.dumps([*items], ensure_ascii=False)}"
    return "\n".join([f"{key} = [", *(f"    {_render_string(item)}," for item in items), "]"])


def _render_string(text: str) -> str:
    """A string in TOML; one of several lines is written as such where it can be."""
    if "\n" not in text or "'''" in text:
        return json.dumps(text, ensure_ascii=False)
    return f"'''\n{text}'''"
