"""A landed commit has exactly its candidate's tree, and the user's repository stays sound."""

import asyncio
import multiprocessing
import os
import shutil
import signal
import tempfile

import pytest

from orchestrator.errors import WorkspaceError
from orchestrator.workspace import delivery, history, user_index
from orchestrator.workspace.candidate import Candidate
from orchestrator.workspace.user_repository import UserRepository


async def candidate_of(project, workspace, *, overlay=None, message="task 1\n") -> Candidate:
    snapshot = await workspace.tree.snapshot(exclude=frozenset(), baseline=await workspace.tree.baseline())
    parent = await project.git("rev-parse", "HEAD")
    return await workspace.tree.build_candidate(
        snapshot,
        parent=parent,
        message=message,
        overlay=overlay or {},
        ref="refs/candidates/r/1/1",
        base=parent,
    )


async def test_the_candidate_lands_and_git_status_is_clean(project):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    await workspace.user.make_branch("milestone/one", base)
    project.write("a.py", "print(2)\n")
    project.write("new/c.py", "c = 1\n")
    (project.folder / "src/deep/b.py").unlink()
    candidate = await candidate_of(project, workspace, overlay={"docs/HANDOFF_x.md": b"# Hand-off\n"})
    await workspace.tree.land(candidate.commit, branch="milestone/one", expected=base)
    assert await project.git("rev-parse", "HEAD") == candidate.commit
    assert await project.git("rev-parse", "HEAD^{tree}") == candidate.tree
    assert await project.git("symbolic-ref", "HEAD") == "refs/heads/milestone/one"
    assert (project.folder / "docs/HANDOFF_x.md").read_bytes() == b"# Hand-off\n"
    assert await project.git("status", "--porcelain") == ""
    assert await project.fsck() == ""
    assert await project.git("log", "-1", "--format=%an <%ae> %cn <%ce>") == (
        "Ada <ada@example.org> Ada <ada@example.org>"
    )
    assert project.owners() == {os.geteuid() if project.owner is None else project.owner.uid}


async def test_making_a_candidate_changes_neither_the_users_refs_nor_index(project):
    workspace = await project.open()
    before = await project.git("count-objects", "-v")
    project.write("new.py")
    await candidate_of(project, workspace)
    assert await project.git("count-objects", "-v") == before
    assert await project.git("status", "--porcelain") == "?? new.py"


async def test_many_files_arrive_as_a_pack(project):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    for number in range(delivery.UNPACK_LIMIT + 1):
        (project.folder / f"f{number}").write_text(f"{number}\n")
    project.own()
    candidate = await candidate_of(project, workspace)
    await workspace.tree.land(candidate.commit, branch="main", expected=base)
    assert "packs: 1" in await project.git("count-objects", "-v")
    assert await project.git("status", "--porcelain") == ""
    assert await project.fsck() == ""


async def test_repeating_a_killed_delivery_completes_it(project):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    project.write("a.py", "print(2)\n")
    candidate = await candidate_of(project, workspace, overlay={"HANDOFF_x.md": b"text\n"})
    await delivery.send_objects(workspace.user, candidate.commit, base)
    await workspace.user.move_branch("main", to=candidate.commit, expected=base)
    assert await project.git("status", "--porcelain") != ""
    for _ in range(2):
        await workspace.tree.land(candidate.commit, branch="main", expected=base)
        assert await project.git("status", "--porcelain") == ""
        assert (project.folder / "HANDOFF_x.md").read_bytes() == b"text\n"


async def test_an_index_lock_of_a_killed_delivery_is_removed_and_one_of_git_is_not(project, monkeypatch):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    project.write("a.py", "print(2)\n")
    candidate = await candidate_of(project, workspace)
    git_dir = project.folder / ".git"
    (git_dir / "orchestrator-index").touch()
    os.link(git_dir / "orchestrator-index", git_dir / "index.lock")
    await project.open()
    await workspace.tree.land(candidate.commit, branch="main", expected=base)
    assert sorted(path.name for path in git_dir.glob("*index*")) == ["index"]

    project.write("a.py", "print(3)\n")
    later = await candidate_of(project, workspace)
    (git_dir / "index.lock").touch()
    monkeypatch.setattr(user_index, "LOCK_WAIT_SECONDS", 0.2)
    with pytest.raises(WorkspaceError, match=r"index\.lock"):
        await workspace.tree.land(later.commit, branch="main", expected=candidate.commit)
    assert (git_dir / "index.lock").exists()
    assert await project.git("rev-parse", "main") == candidate.commit


@pytest.mark.parametrize(
    ("move", "names"),
    [
        (["commit", "-q", "--allow-empty", "-m", "mine"], "main is at {main}, not at {base}. "),
        (["switch", "-q", "-c", "elsewhere"], "branch elsewhere, not on main. "),
        (["checkout", "-q", "--detach"], "a detached commit, not on main. "),
        (["symbolic-ref", "HEAD", "refs/heads/unborn"], "Switch back: git switch main"),
        (["add", "a.py"], "git diff --cached"),
    ],
    ids=["branch", "head", "detached", "unborn", "index"],
)
async def test_nothing_is_delivered_when_the_user_moved_head_branch_or_index(project, move, names):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    project.write("a.py", "print(2)\n")
    candidate = await candidate_of(project, workspace)
    project.write("a.py", "print('mine')\n")
    await project.git(*move)
    moved_to = await project.git("rev-parse", "main")
    with pytest.raises(WorkspaceError) as failure:
        await workspace.tree.land(candidate.commit, branch="main", expected=base)
    assert names.format(base=base[:12], main=moved_to[:12]) in str(failure.value)
    assert f"was not added to the branch and is kept ({candidate.commit[:12]})" in str(failure.value)
    assert await project.git("rev-parse", "main") == moved_to
    assert not (project.folder / ".git/index.lock").exists()


async def test_flags_of_the_users_index_survive_and_hidden_edits_are_not_committed(project):
    project.write("hidden.cfg", "1\n")
    project.write("assumed.cfg", "1\n")
    base = await project.commit()
    await project.git("update-index", "--skip-worktree", "hidden.cfg")
    await project.git("update-index", "--assume-unchanged", "assumed.cfg")
    project.write("hidden.cfg", "secret\n")
    project.write("assumed.cfg", "secret\n")
    workspace = await project.open()
    assert await workspace.user.list_dirty_paths() == ()
    project.write("a.py", "print(2)\n")
    candidate = await candidate_of(project, workspace)
    assert [change.path for change in await history.changes(workspace.store, base, candidate.commit)] == [
        "a.py"
    ]
    await workspace.tree.land(candidate.commit, branch="main", expected=base)
    flags = await project.git("ls-files", "-v", "hidden.cfg", "assumed.cfg")
    assert flags.splitlines() == ["h assumed.cfg", "S hidden.cfg"]
    assert (project.folder / "hidden.cfg").read_text() == "secret\n"
    assert await project.git("status", "--porcelain") == ""


async def test_edits_of_the_user_during_the_gates_stay_edits(project):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    project.write("a.py", "print(2)\n")
    candidate = await candidate_of(project, workspace)
    project.write("a.py", "print(3)\n")
    await workspace.tree.land(candidate.commit, branch="main", expected=base)
    assert await project.git("show", "HEAD:a.py") == "print(2)"
    assert await project.git("status", "--porcelain") == " M a.py"


async def test_a_file_that_a_document_replaces_is_kept(project):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    candidate = await candidate_of(project, workspace, overlay={"HANDOFF_x.md": b"ours\n"})
    project.write("HANDOFF_x.md", "the user's\n")
    await workspace.tree.land(candidate.commit, branch="main", expected=base)
    assert (project.folder / "HANDOFF_x.md").read_text() == "ours\n"
    kept = await workspace.store.git.text("for-each-ref", "--format=%(objectname)", "refs/replaced")
    assert await workspace.store.git.text("cat-file", "blob", kept) == "the user's"


async def test_a_kept_commit_outlives_the_users_gc(project):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    await workspace.user.pin_base("r1", base)
    project.write("a.py", "print(2)\n")
    lost = await project.commit()
    await project.git("reset", "-q", "--soft", base)
    saved = await workspace.tree.salvage("refs/salvage/r1/1/1", parent=base, message="as it was\n", base=base)
    assert await history.tree_of(workspace.store, saved) == await project.git("rev-parse", f"{lost}^{{tree}}")
    await project.git("reset", "-q", "--hard", base)
    await project.git("reflog", "expire", "--expire=now", "--all")
    await project.git("gc", "-q", "--prune=now")
    assert (await project.try_git("cat-file", "-e", lost)).exit_code != 0
    assert await history.read_blob(workspace.store, saved, "a.py", 100) == b"print(2)\n"
    await workspace.store.git.run("fsck", "--strict")


async def test_our_repository_is_reused(project):
    workspace = await project.open()
    again = await project.open()
    assert workspace.store.git_dir == again.store.git_dir
    shutil.rmtree(workspace.store.git_dir)
    assert (await project.open()).store.git_dir.is_dir()


async def test_several_commands_open_a_folder_at_once(project):
    workspaces = await asyncio.gather(*(project.open() for _ in range(4)))
    assert len({workspace.store.git_dir for workspace in workspaces}) == 1
    names = {path.name for path in workspaces[0].store.git_dir.iterdir()}
    assert names == {"HEAD", "config", "description", "info", "objects", "refs", "user-attributes"} - {
        "description"
    }


KILLED_AT = {
    "send_objects": delivery,
    "_check_unmoved": delivery,
    "move_branch": UserRepository,
    "_write_documents": delivery,
    "replace_index": delivery,
    "_fill_lock": user_index,
}


def _deliver_until(where, project, commit, expected):
    """In a process of its own, as the same user: deliver, and die where that function would begin."""

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    async def deliver():
        workspace = await project.open()
        setattr(KILLED_AT[where], where, die)
        await workspace.tree.land(commit, branch="main", expected=expected)

    asyncio.run(deliver())


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("where", KILLED_AT)
async def test_a_delivery_killed_at_any_step_can_be_completed(project, where):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    project.write("a.py", "print(2)\n")
    candidate = await candidate_of(project, workspace, overlay={"HANDOFF_x.md": b"text\n"})
    killed = multiprocessing.get_context("fork").Process(
        target=_deliver_until, args=(where, project, candidate.commit, base)
    )
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    again = await project.open()
    await again.tree.land(candidate.commit, branch="main", expected=base)
    assert await project.git("rev-parse", "main") == candidate.commit
    assert await project.git("status", "--porcelain") == ""
    assert (project.folder / "HANDOFF_x.md").read_bytes() == b"text\n"
    assert await project.fsck() == ""


async def test_the_scratch_folder_of_a_killed_delivery_is_removed(own_project, area, monkeypatch):
    monkeypatch.setattr(delivery, "_OPEN_TO_ALL", str(area))
    monkeypatch.setattr(tempfile, "tempdir", str(area))
    workspace = await own_project.open()
    left = area / f"ktrdr-delivery-{workspace.store.name}-abc" / "empty.git"
    other = area / "ktrdr-delivery-of-another-folder"
    for folder in (left, other):
        folder.mkdir(parents=True)
    delivery.remove_scratch_folders(workspace.user)
    assert not left.parent.exists() and other.exists()
