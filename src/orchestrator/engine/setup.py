"""The setup image of a commit: found, or built with a fact before and after."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.containers.names import setup_name
from orchestrator.engine.container_specs import ContainerSpecs
from orchestrator.engine.context import RunRecords, RunTerms, Services
from orchestrator.engine.heartbeat import Heartbeat, heartbeat
from orchestrator.engine.overlays import find_blocked, make_mount_points
from orchestrator.engine.setup_overlays import OverlayRequest, OverlaySupport, make_overlays
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
from orchestrator.mounts import AnonymousVolume, Bind, Mount
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.run.facts import Notice, SetupEnded, SetupStarted
from orchestrator.run.handoff import HANDOFF_LIMIT_BYTES, is_handoff, may_be_handoff
from orchestrator.text import one_line, plain
from orchestrator.workspace import container_git, history
from orchestrator.workspace.workspace import Workspace

SHOWN_FILES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupOwner:
    """The task and attempt that a setup is for; by default the run itself."""

    task: str | None = None
    attempt: int | None = None
    is_candidate: bool = False
    """Whether an agent made the commit.

    Files of such a commit that setup would overwrite are a finding against the candidate, not a reason to run
    setup again.
    """


async def ensure_setup_image(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    commit: str,
    owner: SetupOwner,
) -> SetupImage:
    """The image that attempts on this commit, and gates of it, start from; built if there is none yet.

    Raises SetupFailed.
    """
    files = await history.files(workspace.store, commit)
    plan = _plan_setup(terms, workspace, files)
    if plan is None:
        return SetupImage(id=terms.image)
    found = await find_setup(services.engine, plan)
    if found is None:
        found = await _find_landed_setup(services, records, terms, workspace, files)
    if found is not None and (owner.is_candidate or first_conflict(files, found) is None):
        return found
    if owner.is_candidate:
        # The candidate's own files can influence this image, so it is cached for this commit only.
        plan = _plan_setup(terms, workspace, files, candidate=commit)
        assert plan is not None
        found = await find_setup(services.engine, plan)
        if found is not None:
            return found
    return await _build_setup_image(services, records, terms, workspace, commit, plan, owner)


async def _find_landed_setup(
    services: Services, records: RunRecords, terms: RunTerms, workspace: Workspace, files: Mapping[str, str]
) -> SetupImage | None:
    """The setup image of a candidate with the same lock files that has landed in this run.

    A candidate's setup runs the candidate's own files, which could plant something in the image. So the image
    is for that candidate's gates alone until it has passed them and landed. From then on its files are those
    of the branch, and setup would run the same files again.
    """
    finished = [task.finished for task in records.journal.state.tasks.values()]
    landed = {end.commit for end in finished if end is not None and end.status == "completed"}
    for commit in sorted(landed - {None, records.start.base}, key=str):
        plan = _plan_setup(terms, workspace, files, candidate=commit)
        found = None if plan is None else await find_setup(services.engine, plan)
        if found is not None:
            return found
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupCover:
    """Mounts with the folders that setup made, over those of the same name in the code folder."""

    mounts: tuple[Mount, ...]
    folders: tuple[str, ...]
    """The folders that setup made and git does not track; each ends with `/`. No candidate contains them."""
    holder: str | None
    """The container whose volumes the attempt's container must hold; remove it once that one is created."""
    copied: tuple[str, ...]
    """Folders that the engine copies when it creates the attempt's container."""
    reason: str
    """Why it does."""


async def cover_with_setup(
    engine: ContainerEngine,
    setup: SetupImage,
    workspace: Workspace,
    folders: AttemptFolders,
    support: OverlaySupport,
    specs: ContainerSpecs,
    holder: ContainerSpec,
) -> SetupCover:
    """Cover the folders that setup made, by overlays where the engine can mount them, else by copies.

    A `.venv` of the user's is hidden from the agent, a folder that git tracks never is.
    """
    blocked = find_blocked(workspace.tree.folder, setup.folders)
    free = [path for path in setup.folders if path not in blocked]
    hidden = [path for path in free if not await workspace.user.is_tracked(path)]
    tree = workspace.tree
    request = OverlayRequest(
        paths=await asyncio.to_thread(make_mount_points, tree.folder, tree.owner, hidden, folders),
        holder=holder,
        probe=specs.overlay_probe(holder=holder),
        folder=folders.root,
        mtime=workspace.store.clock.now().timestamp(),
        support=support,
    )
    made = await make_overlays(engine, request)
    copies = tuple(AnonymousVolume(target=f"{container_git.WORKSPACE}/{path}") for path in made.copied)
    return SetupCover(
        mounts=(*made.overlays, *copies),
        folders=tuple(hidden),
        holder=made.holder,
        copied=made.copied,
        reason=made.reason,
    )


async def set_up_base(services: Services, records: RunRecords, terms: RunTerms, workspace: Workspace) -> None:
    """Make sure that the base's setup image exists before an agent costs anything. Raises SetupFailed.

    A reused image is recorded too, and notices list the folders and files that agents will not see.
    """
    base = records.start.base
    plan = _plan_setup(terms, workspace, await history.files(workspace.store, base))
    found = None if plan is None else await find_setup(services.engine, plan)
    made = await ensure_setup_image(services, records, terms, workspace, base, SetupOwner())
    if found is not None and made.id == found.id:
        reused = SetupEnded(status="reused", image=made.id, seconds=0.0, changed=made.changed)
        await records.journal.append(reused)
    for path in find_blocked(workspace.tree.folder, made.folders):
        text = f"{path} is a link or a file in your folder, so agents do not see what setup installed there"
        await records.journal.append(Notice(text=plain(text)))
    files = [path for path in made.produced if not path.endswith("/")]
    if files:
        more = f" and {len(files) - SHOWN_FILES} more" if len(files) > SHOWN_FILES else ""
        shown = ", ".join(one_line(path, 100) for path in files[:SHOWN_FILES])
        text = f"{shown}{more}: made by setup outside of folders of its own, so only gates have it"
        await records.journal.append(Notice(text=text))


async def check_setup(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    gate: SetupGate,
    commit: str,
    owner: SetupOwner,
) -> tuple[Finding, ...]:
    """Findings against the candidate `commit`; empty if setup works with it. Runs setup if necessary.

    A setup that fails on the candidate is a finding. So is a file that the candidate tracks and that setup
    makes or rewrites, on the candidate or on its parent: in a container such a file would have setup's
    content, and the gates would judge something else than what lands.
    """
    files = await history.files(workspace.store, commit)
    known = await history.files(workspace.store, gate.parent)
    before = await ensure_setup_image(services, records, terms, workspace, gate.parent, SetupOwner())
    try:
        after = await ensure_setup_image(services, records, terms, workspace, commit, owner)
    except SetupFailed as error:
        return (Finding(rule="setup_fails", path=None, text=error.what),)
    for image in (before, after):
        rewritten = sorted(set(image.changed).intersection(files) - known.keys())
        path = first_conflict(files, image) or next(iter(rewritten), None)
        if path is not None:
            return (Finding(rule="setup_makes_it", path=path),)
    return ()


def _plan_setup(
    terms: RunTerms, workspace: Workspace, files: Mapping[str, str], *, candidate: str | None = None
) -> SetupPlan | None:
    settings = terms.settings
    return plan_setup(
        files,
        commands=settings.setup.commands,
        discovering=settings.setup.discover,
        folders=settings.setup.folders,
        image=terms.image,
        repository=workspace.store.name,
        candidate=candidate,
        owner=workspace.tree.owner,
        env=terms.specs.variables,
    )


async def _build_setup_image(
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
    async with files_for_container(records, workspace, commit, name) as files:
        home = files.scratch / "home"
        make_private_folder(home, workspace.tree.owner)
        request = SetupRequest(
            spec=terms.specs.setup(name=name, image=terms.image, git=files.git, home=home),
            archive=files.archive,
            plan=plan,
            env=terms.specs.variables,
            log=records.folder.setup_log(name),
            on_step=heartbeat.begin,
            on_output=heartbeat.note_output,
        )
        return await run_setup(services.engine, services.clock, request)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFiles:
    """A commit, as it is copied into a fresh container of setup or gates."""

    scratch: Path
    archive: Path
    git: tuple[Bind, ...]
    """Mounts of a git directory with this commit only."""


async def _leave_out_handoffs(workspace: Workspace, commit: str) -> str:
    """The commit, or one that differs from it in nothing but its missing hand-off documents."""
    names = [path for path in await history.files(workspace.store, commit) if may_be_handoff(path)]
    found = []
    for name in names:
        text = await history.read_blob(workspace.store, commit, name, limit=HANDOFF_LIMIT_BYTES)
        if text is not None and is_handoff(text.decode("utf-8", "replace")):
            found.append(name)
    return await workspace.store.commit_without(commit, tuple(found)) if found else commit


@asynccontextmanager
async def files_for_container(
    records: RunRecords, workspace: Workspace, commit: str, name: str
) -> AsyncGenerator[CommitFiles]:
    """Write a commit into a scratch folder, which is named after the container and removed at the end.

    The hand-off documents of runs are not in it. They are text of agents, which no style check of the project
    should judge: the agent of a later task could not fix them.
    """
    scratch, user = records.folder.gate(name), workspace.tree.owner
    # An owner that was killed may have left a folder of this name.
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    scratch.mkdir(parents=True, mode=0o700)
    try:
        archive = scratch / "files.tar"
        commit = await _leave_out_handoffs(workspace, commit)
        await container_git.write_gate_archive(workspace.store, commit, archive, uid=user.uid, gid=user.gid)
        git = await container_git.make_gate_git_dir(
            workspace.store, scratch / "git", commit=commit, branch=records.start.branch
        )
        yield CommitFiles(scratch=scratch, archive=archive, git=git)
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
