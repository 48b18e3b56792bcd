"""The setup image of a commit: found, or made with a fact before and after."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.containers.base import Mount
from orchestrator.containers.names import setup_name
from orchestrator.engine.context import RunContext
from orchestrator.engine.heartbeat import Progress, progress_told
from orchestrator.engine.overlays import in_the_way, setup_volumes
from orchestrator.errors import OrchestratorError, SetupFailed
from orchestrator.files import make_private_folder
from orchestrator.gates.setup_image import (
    SetupImage,
    SetupPlan,
    SetupRequest,
    find_setup,
    first_conflict,
    plan_setup,
    run_setup,
)
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.run.facts import Notice, SetupEnded, SetupStarted
from orchestrator.text import plain
from orchestrator.workspace import container_git, history
from orchestrator.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class For:
    """Whose setup it is, for facts; the run's own by default."""

    task: str | None = None
    attempt: int | None = None
    is_candidate: bool = False
    """Whether an agent made the commit: what it tracks is then never a reason to set up anew."""


async def setup_image(context: RunContext, commit: str, whose: For) -> SetupImage:
    """What attempts on this commit, and gates of it, start from. Raises SetupFailed."""
    files = await history.files(context.workspace.store, commit)
    plan = _plan(context, files)
    if plan is None:
        return SetupImage(id=context.image)
    found = await find_setup(context.engine, plan)
    if found is not None and (whose.is_candidate or first_conflict(files, found) is None):
        return found
    if whose.is_candidate:
        # Its files have a part in it, so nothing else starts from it; once it has landed, setup runs again.
        plan = _plan(context, files, candidate=commit)
        assert plan is not None
        found = await find_setup(context.engine, plan)
        if found is not None:
            return found
    return await _made(context, commit, plan, whose)


async def volumes_of(setup: SetupImage, workspace: Workspace, folders: AttemptFolders) -> tuple[Mount, ...]:
    """Setup's own folders, where git ignores them: the user's, of the same name, are out of reach."""
    blocked = in_the_way(workspace.tree.folder, setup.folders)
    free = [path for path in setup.folders if path not in blocked]
    ignored = await workspace.user.ignored(free)
    hidden = [path for path in free if path in ignored or path in setup.self_ignored]
    return setup_volumes(workspace.tree.folder, workspace.tree.owner, hidden, folders)


async def set_up_base(context: RunContext) -> None:
    """Have the base's image there before anything is paid for, and say so. Raises SetupFailed."""
    base = context.journal.state.start.base
    plan = _plan(context, await history.files(context.workspace.store, base))
    found = await find_setup(context.engine, plan) if plan is not None else None
    made = await setup_image(context, base, For())
    if found is not None and made.id == found.id:
        reused = SetupEnded(status="reused", image=made.id, seconds=0.0, changed=made.changed)
        await context.journal.append(reused)
    for path in in_the_way(context.workspace.tree.folder, made.folders):
        text = f"{path} is a link or a file in your folder: agents do not see what setup installed there"
        await context.journal.append(Notice(text=plain(text)))


async def refuse_what_setup_made(context: RunContext, commit: str, parent: str, whose: For) -> str | None:
    """Why a candidate may not be gated: its own setup fails, or it tracks what setup makes; else None.

    A tracked `.venv/bin/pytest` would take the place of the one that setup installed.
    """
    files = await history.files(context.workspace.store, commit)
    known = await history.files(context.workspace.store, parent)
    before = await setup_image(context, parent, For())
    try:
        after = await setup_image(context, commit, whose)
    except SetupFailed as error:
        return f"its dependencies cannot be installed: {error.what}"
    for made in (before, after):
        path = first_conflict(files, made)
        rewritten = sorted(set(made.changed).intersection(files) - known.keys())
        path = path or next(iter(rewritten), None)
        if path is not None:
            return f"{path} is tracked, and setup makes it: no check could tell the two apart"
    return None


def _plan(context: RunContext, files: Mapping[str, str], *, candidate: str | None = None) -> SetupPlan | None:
    settings = context.settings
    return plan_setup(
        files,
        commands=settings.setup.commands,
        discovering=settings.setup.discover,
        image=context.image,
        repository=context.workspace.store.name,
        candidate=candidate,
        owner=context.workspace.tree.owner,
        env=context.specs.variables,
    )


async def _made(context: RunContext, commit: str, plan: SetupPlan, whose: For) -> SetupImage:
    begun = time.monotonic()
    started = SetupStarted(commands=plan.commands, found=plan.found, commit=commit)
    number = (await context.journal.append(started, task=whose.task, attempt=whose.attempt)).n
    try:
        async with progress_told(context, task=whose.task, attempt=whose.attempt) as progress:
            progress.begin("setup")
            made = await _carried_out(context, commit, plan, setup_name(context.run, number), progress)
    except OrchestratorError as error:
        failed = SetupEnded(
            status="failed", image=None, seconds=round(time.monotonic() - begun, 3), reason=plain(error.what)
        )
        await context.journal.append(failed, task=whose.task, attempt=whose.attempt)
        raise
    done = SetupEnded(
        status="done",
        image=made.id,
        seconds=round(time.monotonic() - begun, 3),
        changed=tuple(plain(path) for path in made.changed),
    )
    await context.journal.append(done, task=whose.task, attempt=whose.attempt)
    return made


async def _carried_out(
    context: RunContext, commit: str, plan: SetupPlan, name: str, progress: Progress
) -> SetupImage:
    """Put the tree into a fresh container, run the commands, and leave nothing behind but image and log."""
    owner = context.workspace.tree.owner
    scratch = context.folder.gate(name)
    shutil.rmtree(scratch, ignore_errors=True)
    home = scratch / "home"
    scratch.mkdir(parents=True, mode=0o700)
    make_private_folder(home, owner)
    try:
        archive = scratch / "tree.tar"
        await container_git.write_gate_archive(
            context.workspace.store, commit, archive, uid=owner.uid, gid=owner.gid
        )
        branch = context.journal.state.start.branch
        git = await container_git.make_gate_git_dir(
            context.workspace.store, scratch / "git", commit=commit, branch=branch
        )
        request = SetupRequest(
            spec=context.specs.setup(name=name, image=context.image, git=git, home=home),
            archive=archive,
            plan=plan,
            env=context.specs.variables,
            log=context.folder.setup_log(name),
            printed=progress.printed,
        )
        return await run_setup(context.engine, request)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
