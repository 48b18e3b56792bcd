"""Questions about commits, answered by our repository."""

import pytest

from orchestrator.errors import WorkspaceError
from orchestrator.run.handoff import ChangedFile
from orchestrator.workspace import history


async def test_commits_of_a_run_are_found_by_their_trailers(project):
    base = await project.git("rev-parse", "HEAD")
    trailers = "Orchestrator-Run: r1\nOrchestrator-Task: 1.2\nOrchestrator-Attempt: 1"
    first = await project.commit(f"1.2: a title\n\nwords\n\n{trailers}\n")
    await project.commit("mine\n\nOrchestrator-Run: r2\nOrchestrator-Task: 1.3\n")
    tip = await project.commit("plain")
    store = (await project.open()).store
    assert await history.find_landed(store, tip=tip, base=base, run="r1") == {"1.2": first}
    besides = frozenset({first})
    assert await history.find_landed(store, tip=tip, base=base, run="r1", besides=besides) == {}
    assert await history.is_ancestor(store, base, first)
    assert not await history.is_ancestor(store, first, base)
    assert not await history.is_ancestor(store, "0" * 40, first)
    assert await history.parent_of(store, first) == base
    assert (await history.commits_between(store, base, tip))[-1] == first
    assert await history.filter_existing(store, frozenset({tip, "0" * 40})) == {tip}


async def test_changes_are_named_by_path_status_and_lines(own_project):
    base = await own_project.git("rev-parse", "HEAD")
    own_project.write("new.py", "1\n2\n")
    own_project.write("image.bin", b"\0\1")
    (own_project.folder / "a.py").unlink()
    (own_project.folder / "src/deep/b.py").unlink()
    (own_project.folder / "src/deep/b.py").symlink_to("elsewhere")
    tip = await own_project.commit("work")
    store = (await own_project.open()).store
    assert set(await history.changes(store, base, tip)) == {
        ChangedFile(path="new.py", status="added", added=2, deleted=0),
        ChangedFile(path="image.bin", status="added", added=None, deleted=None),
        ChangedFile(path="a.py", status="deleted", added=0, deleted=1),
        ChangedFile(path="src/deep/b.py", status="type changed", added=1, deleted=1),
    }


async def test_a_blob_over_the_limit_is_not_read(own_project):
    tip = await own_project.git("rev-parse", "HEAD")
    store = (await own_project.open()).store
    assert await history.read_blob(store, tip, "a.py", limit=9) == b"print(1)\n"
    with pytest.raises(WorkspaceError, match="larger than 8 bytes"):
        await history.read_blob(store, tip, "a.py", limit=8)


async def test_only_answers_about_objects_are_remembered(own_project):
    store = (await own_project.open()).store
    first = await own_project.git("rev-parse", "HEAD")
    await store.git.run("update-ref", "refs/moving", first)
    before = await history.tree_of(store, "refs/moving"), await history.files(store, "refs/moving")
    own_project.write("new.py")
    tip = await own_project.commit("work")
    await store.git.run("update-ref", "refs/moving", tip)
    assert await history.tree_of(store, "refs/moving") != before[0] == await history.tree_of(store, first)
    assert (await history.files(store, "refs/moving")).keys() - before[1].keys() == {"new.py"}
    assert await history.files(store, tip) is await history.files(store, tip)
