"""The setup image of a commit: found, or made with a fact before and after."""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.containers.names import setup_name
from orchestrator.engine.context import RunRecords, RunTerms, Services
from orchestrator.engine.heartbeat import Heartbeat, heartbeat
from orchestrator.engine.overlays import in_the_way, setup_volumes
from orchestrator.errors import OrchestratorError, SetupFailed
from orchestrator.files import make_private_folder
from orchestrator.gates.gate import Finding, SetupGate
from orchestrator.gates.setup_image import (
    SetupImage,
    SetupPlan,
    SetupRequest,
    find_setup,
    first_conflict,
    plan_setup,
    run_setup,
)
from orchestrator.mounts import Mount
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.run.facts import Notice, SetupEnded, SetupStarted
from orchestrator.text import plain
from orchestrator.workspace import container_git, history
from orchestrator.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupOwner:
    """Which task and attempt a setup is for; by default the run itself."""

    task: str | None = None
    attempt: int | None = None
    is_candidate: bool = False
    """Whether an agent made the commit: what it tracks is then never a reason to set up anew."""


async def setup_image(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    commit: str,
    owner: SetupOwner,
) -> SetupImage:
    """What attempts on this commit, and gates of it, start from. Raises SetupFailed."""
    files = await history.files(workspace.store, commit)
    plan = _plan(terms, workspace, files)
    if plan is None:
        return SetupImage(id=terms.image)
    found = await find_setup(services.engine, plan)
    if found is not None and (owner.is_candidate or first_conflict(files, found) is None):
        return found
    if owner.is_candidate:
        # The candidate's own files can influence this image, so it is cached for this commit only.
        plan = _plan(terms, workspace, files, candidate=commit)
        assert plan is not None
        found = await find_setup(services.engine, plan)
        if found is not None:
            return found
    return await _make_setup_image(services, records, terms, workspace, commit, plan, owner)


async def volumes_of(setup: SetupImage, workspace: Workspace, folders: AttemptFolders) -> tuple[Mount, ...]:
    """Setup's own folders, where git ignores them: the user's, of the same name, are out of reach."""
    blocked = in_the_way(workspace.tree.folder, setup.folders)
    free = [path for path in setup.folders if path not in blocked]
    ignored = await workspace.user.filter_ignored(free)
    hidden = [path for path in free if path in ignored or path in setup.self_ignored]
    return setup_volumes(workspace.tree.folder, workspace.tree.owner, hidden, folders)


async def set_up_base(services: Services, records: RunRecords, terms: RunTerms, workspace: Workspace) -> None:
    """Have the base's image there before anything is paid for, and say so. Raises SetupFailed."""
    base = records.start.base
    plan = _plan(terms, workspace, await history.files(workspace.store, base))
    found = None if plan is None else await find_setup(services.engine, plan)
    made = await setup_image(services, records, terms, workspace, base, SetupOwner())
    if found is not None and made.id == found.id:
        reused = SetupEnded(status="reused", image=made.id, seconds=0.0, changed=made.changed)
        await records.journal.append(reused)
    for path in in_the_way(workspace.tree.folder, made.folders):
        text = f"{path} is a link or a file in your folder: agents do not see what setup installed there"
        await records.journal.append(Notice(text=plain(text)))


async def find_in_setup(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    gate: SetupGate,
    commit: str,
    owner: SetupOwner,
) -> tuple[Finding, ...]:
    """What the gate has against the candidate `commit`; empty: it passes."""
    files = await history.files(workspace.store, commit)
    known = await history.files(workspace.store, gate.parent)
    before = await setup_image(services, records, terms, workspace, gate.parent, SetupOwner())
    try:
        after = await setup_image(services, records, terms, workspace, commit, owner)
    except SetupFailed as error:
        return (Finding(rule="setup_fails", path=None, text=error.what),)
    paths = (_conflict(files, known, image) for image in (before, after))
    return tuple(Finding(rule="setup_makes_it", path=path) for path in paths if path is not None)[:1]


def _conflict(files: Mapping[str, str], known: Mapping[str, str], image: SetupImage) -> str | None:
    rewritten = sorted(set(image.changed).intersection(files) - known.keys())
    return first_conflict(files, image) or next(iter(rewritten), None)


def _plan(
    terms: RunTerms, workspace: Workspace, files: Mapping[str, str], *, candidate: str | None = None
) -> SetupPlan | None:
    settings = terms.settings
    return plan_setup(
        files,
        commands=settings.setup.commands,
        discovering=settings.setup.discover,
        image=terms.image,
        repository=workspace.store.name,
        candidate=candidate,
        owner=workspace.tree.owner,
        env=terms.specs.variables,
    )


async def _make_setup_image(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    commit: str,
    plan: SetupPlan,
    owner: SetupOwner,
) -> SetupImage:
    begun = services.clock.monotonic()
    started = SetupStarted(commands=plan.commands, found=plan.found, commit=commit)
    number = (await records.journal.append(started, task=owner.task, attempt=owner.attempt)).n
    try:
        async with heartbeat(services, records, task=owner.task, attempt=owner.attempt) as beat:
            beat.begin("setup")
            made = await _run_setup(
                services, records, terms, workspace, commit, plan, setup_name(records.run, number), beat
            )
    except OrchestratorError as error:
        failed = SetupEnded(
            status="failed",
            image=None,
            seconds=round(services.clock.monotonic() - begun, 3),
            reason=plain(error.what),
        )
        await records.journal.append(failed, task=owner.task, attempt=owner.attempt)
        raise
    done = SetupEnded(
        status="done",
        image=made.id,
        seconds=round(services.clock.monotonic() - begun, 3),
        changed=tuple(plain(path) for path in made.changed),
    )
    await records.journal.append(done, task=owner.task, attempt=owner.attempt)
    return made


async def _run_setup(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    commit: str,
    plan: SetupPlan,
    name: str,
    heartbeat: Heartbeat,
) -> SetupImage:
    """Put the tree into a fresh container, run the commands, and leave nothing behind but image and log."""
    user = workspace.tree.owner
    scratch = records.folder.gate(name)
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    home = scratch / "home"
    scratch.mkdir(parents=True, mode=0o700)
    make_private_folder(home, user)
    try:
        archive = scratch / "tree.tar"
        await container_git.write_gate_archive(workspace.store, commit, archive, uid=user.uid, gid=user.gid)
        branch = records.start.branch
        git = await container_git.make_gate_git_dir(
            workspace.store, scratch / "git", commit=commit, branch=branch
        )
        request = SetupRequest(
            spec=terms.specs.setup(name=name, image=terms.image, git=git, home=home),
            archive=archive,
            plan=plan,
            env=terms.specs.variables,
            log=records.folder.setup_log(name),
            printed=heartbeat.printed,
        )
        return await run_setup(services.engine, services.clock, request)
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
