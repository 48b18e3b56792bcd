"""Every kind of file that an agent may leave becomes part of a tree, or is refused with its path."""

import io
import os
import socket
import stat
import tarfile

import pytest

from orchestrator.errors import WorkspaceError
from orchestrator.workspace import candidate as candidates
from orchestrator.workspace import history
from orchestrator.workspace.tree import Baseline, LinkInPath, TreeRefused


async def snapshot_of(workspace, baseline=None, exclude=frozenset()):
    return await workspace.tree.snapshot(
        exclude=exclude, baseline=baseline or await workspace.tree.baseline()
    )


async def paths_of(workspace, tree):
    listing = await workspace.store.git.run("ls-tree", "-r", "-z", "--name-only", tree)
    return set(os.fsdecode(listing).split("\0")) - {""}


async def test_file_names_of_every_kind_are_committed_unchanged(project):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    names = [
        "-dash",
        "new\nline",
        "tab\there",
        'quo"te',
        os.fsdecode(b"latin-\xe9"),
        "ünï",
        ":(glob)*",
        "*",
        "[a]",
    ]
    for name in names:
        project.write(f"odd/{name}", name.encode("utf-8", "surrogateescape"))
    (project.folder / "odd/link").symlink_to("/etc/passwd")
    (project.folder / "odd/broken").symlink_to("nowhere")
    (project.folder / "a.py").chmod(0o755)
    project.own()
    snapshot = await snapshot_of(workspace)
    expected = {f"odd/{name}" for name in (*names, "link", "broken")}
    assert await paths_of(workspace, snapshot.tree) >= expected
    made = await workspace.tree.build_candidate(
        snapshot, parent=base, message="m\n", overlay={}, ref="refs/c/1", base=base
    )
    changes = {change.path: change for change in await history.changes(workspace.store, base, made.commit)}
    assert set(changes) == expected | {"a.py"}
    assert changes["a.py"].status == "modified"
    assert await history.read_blob(workspace.store, made.commit, "odd/*", 100) == b"*"
    assert await history.read_blob(workspace.store, made.commit, "odd/link", 100) is None
    assert await history.read_blob(workspace.store, made.commit, "odd/none", 100) is None
    await workspace.tree.land(made.commit, branch="main", expected=base)
    assert await project.git("status", "--porcelain") == ""
    assert await project.fsck() == ""


async def test_a_path_that_changes_its_kind_is_committed_with_the_new_one(project):
    """A file becomes a folder, a folder a link, a name another case."""
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    (project.folder / "a.py").unlink()
    project.write("a.py/inner")
    for entry in ("src/deep/b.py",):
        (project.folder / entry).unlink()
    (project.folder / "src/deep").rmdir()
    (project.folder / "src/deep").symlink_to("/etc")
    (project.folder / ".gitignore").rename(project.folder / ".GitIgnore")
    project.own()
    snapshot = await snapshot_of(workspace)
    assert await paths_of(workspace, snapshot.tree) == {"a.py/inner", "src/deep", ".GitIgnore"}
    made = await workspace.tree.build_candidate(
        snapshot, parent=base, message="m\n", overlay={}, ref="refs/c/1", base=base
    )
    await workspace.tree.land(made.commit, branch="main", expected=base)
    assert await project.git("status", "--porcelain") == ""


async def test_pipes_sockets_and_repositories_are_moved_away_without_blocking(project, area):
    workspace = await project.open()
    baseline = await workspace.tree.baseline()
    for name in (".gitignore", ".gitattributes", "src/.gitattributes", "queue"):
        (project.folder / name).unlink(missing_ok=True)
        os.mkfifo(project.folder / name)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(project.folder / "s"))
    server.close()
    project.write("lib/x.py", "x = 1\n")
    project.own()
    await project.git("init", "-q", cwd=project.folder / "lib")
    await project.git("init", "-q", str(project.folder / "empty"))
    await project.git("init", "-q", str(project.folder / "src"))
    moved = await workspace.tree.clear_oddities(baseline, area / "evidence")
    assert {(oddity.path, oddity.kind) for oddity in moved} == {
        (".gitignore", "pipe"),
        (".gitattributes", "pipe"),
        ("src/.gitattributes", "pipe"),
        ("queue", "pipe"),
        ("s", "socket"),
        ("lib/.git", "repository"),
        ("empty/.git", "repository"),
        ("src/.git", "repository"),
    }
    assert all(oddity.kept is not None and os.path.lexists(oddity.kept) for oddity in moved)
    snapshot = await snapshot_of(workspace, baseline)
    assert await paths_of(workspace, snapshot.tree) == {"a.py", "src/deep/b.py", "lib/x.py"}
    assert await workspace.tree.clear_oddities(baseline, area / "evidence") == ()


async def test_special_files_from_before_the_attempt_are_not_moved(project, area):
    os.mkfifo(project.folder / "mine.pipe")
    project.write("build/x")
    await project.git("init", "-q", str(project.folder / "build"))
    workspace = await project.open()
    baseline = await workspace.tree.baseline()
    assert await workspace.tree.clear_oddities(baseline, area / "evidence") == ()
    await project.git("init", "-q", str(project.folder / "build/new"))
    assert await workspace.tree.clear_oddities(baseline, area / "evidence") == ()
    assert (project.folder / "build/new/.git").is_dir()
    assert stat.S_ISFIFO((project.folder / "mine.pipe").stat().st_mode)
    snapshot = await snapshot_of(workspace, baseline)
    assert await paths_of(workspace, snapshot.tree) == {"a.py", ".gitignore", "src/deep/b.py"}


async def test_links_are_not_followed_when_things_are_moved(project, area):
    """A link to a folder outside with a repository and a pipe in it: both stay there."""
    outside = area / "outside"
    (outside / ".git").mkdir(parents=True)
    os.mkfifo(outside / "pipe")
    workspace = await project.open()
    baseline = await workspace.tree.baseline()
    (project.folder / "way").symlink_to(outside)
    (project.folder / "lib").mkdir()
    (project.folder / "lib/.git").symlink_to(outside / ".git")
    moved = await workspace.tree.clear_oddities(baseline, area / "evidence")
    assert [oddity.path for oddity in moved] == ["lib/.git"]
    assert sorted(path.name for path in outside.iterdir()) == [".git", "pipe"]


async def test_a_file_that_was_ignored_before_the_attempt_is_never_committed(project):
    project.write(".env", "SECRET=1\n")
    project.write("build/out.bin")
    workspace = await project.open()
    baseline = Baseline.from_json((await workspace.tree.baseline()).to_json())
    project.write(".gitignore", "")
    project.write("fresh.log")
    snapshot = await snapshot_of(workspace, baseline)
    assert snapshot.unignored == (".env", "build/")
    assert await paths_of(workspace, snapshot.tree) == {".gitignore", "a.py", "src/deep/b.py", "fresh.log"}


async def test_a_folder_with_only_ignored_files_can_get_files_of_the_agents(project):
    project.write("logs/x.log")
    workspace = await project.open()
    baseline = await workspace.tree.baseline()
    project.write("logs/README.md")
    snapshot = await snapshot_of(workspace, baseline)
    assert snapshot.left_out == ()
    assert "logs/README.md" in await paths_of(workspace, snapshot.tree)


async def test_a_baseline_can_be_stored_and_read(own_project):
    own_project.write(os.fsdecode(b"\xff.log"))
    baseline = await (await own_project.open()).tree.baseline()
    assert baseline.ignored == {os.fsdecode(b"\xff.log")}
    assert Baseline.from_json(baseline.to_json()) == baseline


async def test_excluded_and_large_files_stay_out(project, monkeypatch):
    monkeypatch.setattr(candidates, "UNTRACKED_MAX_BYTES", 1000)
    project.write("tracked.bin", b"1")
    await project.commit()
    workspace = await project.open()
    project.write("plan.md")
    project.write("big.bin", b"x" * 1001)
    project.write("tracked.bin", b"x" * 1001)
    snapshot = await snapshot_of(workspace, exclude=frozenset({"plan.md", "a.py"}))
    assert snapshot.left_out == ("big.bin",)
    paths = await paths_of(workspace, snapshot.tree)
    assert not paths & {"plan.md", "big.bin"}
    assert await workspace.store.git.text("cat-file", "-s", f"{snapshot.tree}:tracked.bin") == "1001"


def dot_git_in_capitals(project):
    project.write("sub/.GIT/x")


def short_name_of_dot_git(project):
    project.write("git~1")


def filter_in_attributes(project):
    project.write(".gitattributes", "*.py filter=evil\n")


def encoding_in_attributes(project):
    project.write("src/.gitattributes", "*.py working-tree-encoding=UTF-16\n")


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (dot_git_in_capitals, "sub/.GIT/x"),
        (short_name_of_dot_git, "git~1"),
        (filter_in_attributes, "filter=evil"),
        (encoding_in_attributes, "src/deep/b.py: its attributes set working-tree-encoding=UTF-16"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_tree_that_git_refuses_is_reported_by_path_and_can_be_saved(project, spoil, names):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    baseline = await workspace.tree.baseline()
    before = set(project.folder.rglob("*"))
    project.write("good.py")
    spoil(project)
    planted = {
        str(path.relative_to(project.folder))
        for path in set(project.folder.rglob("*")) - before
        if path.is_file()
    }
    with pytest.raises(TreeRefused) as failure:
        await snapshot_of(workspace, baseline)
    assert names in str(failure.value)
    saved = await workspace.tree.salvage("refs/salvage/1", parent=base, message="as it was\n", base=base)
    assert await saved_in(workspace, saved) >= planted


async def saved_in(workspace, saved):
    """Paths that a saved tree has as files, or in the tar of what git does not take."""
    paths = await paths_of(workspace, saved)
    if candidates.SALVAGED_TAR not in paths:
        return paths
    content = await workspace.store.git.run("cat-file", "blob", f"{saved}:{candidates.SALVAGED_TAR}")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return paths | set(tar.getnames())


# Root reads everything.
not_as_root = pytest.mark.parametrize(
    "project", ["ordinary" if os.geteuid() == 0 else "caller"], indirect=True
)


@not_as_root
@pytest.mark.parametrize("path", ["a.py", "src/deep"], ids=["file", "folder"])
async def test_an_unreadable_file_is_reported_by_path(project, path):
    workspace = await project.open()
    baseline = await workspace.tree.baseline()
    (project.folder / path).chmod(0)
    try:
        with pytest.raises(TreeRefused, match=path):
            await snapshot_of(workspace, baseline)
        base = await project.git("rev-parse", "HEAD")
        await workspace.tree.salvage("refs/salvage/1", parent=base, message="m\n", base=base)
    finally:
        (project.folder / path).chmod(0o755)


@pytest.mark.parametrize("kind", ["folder", "file"])
async def test_a_link_on_the_path_of_a_document_is_refused(project, area, kind):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    (area / "target").mkdir()
    if kind == "folder":
        (project.folder / "docs").symlink_to(area / "target")
    else:
        (project.folder / "docs").mkdir()
        (project.folder / "docs/H.md").symlink_to(area / "target" / "file")
    snapshot = await snapshot_of(workspace)
    with pytest.raises(LinkInPath, match=r"docs/H\.md"):
        await workspace.tree.build_candidate(
            snapshot, parent=base, message="m\n", overlay={"docs/H.md": b"x"}, ref="refs/c/1", base=base
        )
    assert list((area / "target").iterdir()) == []


async def test_a_link_made_after_the_gates_is_not_followed(project, area):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    snapshot = await snapshot_of(workspace)
    made = await workspace.tree.build_candidate(
        snapshot, parent=base, message="m\n", overlay={"docs/H.md": b"x"}, ref="refs/c/1", base=base
    )
    (area / "target").mkdir()
    (project.folder / "docs").symlink_to(area / "target")
    with pytest.raises(LinkInPath):
        await workspace.tree.land(made.commit, branch="main", expected=base)
    assert list((area / "target").iterdir()) == []
    assert await project.git("rev-parse", "main") == base


async def test_a_candidate_may_delete_every_file(project):
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    baseline = await workspace.tree.baseline()
    for path in ("a.py", "src/deep/b.py", ".gitignore"):
        (project.folder / path).unlink()
    snapshot = await snapshot_of(workspace, baseline)
    assert await paths_of(workspace, snapshot.tree) == set()
    made = await workspace.tree.build_candidate(
        snapshot, parent=base, message="m\n", overlay={}, ref="refs/c/1", base=base
    )
    await workspace.tree.land(made.commit, branch="main", expected=base)
    assert await project.git("status", "--porcelain") == ""
    again = await snapshot_of(workspace)
    assert again.tree == snapshot.tree


@not_as_root
async def test_a_folder_that_the_agent_made_unreadable_is_reported_by_path(project):
    workspace = await project.open()
    baseline = await workspace.tree.baseline()
    project.folder.chmod(0)
    try:
        with pytest.raises(TreeRefused, match="cannot be read"):
            await snapshot_of(workspace, baseline)
        with pytest.raises(WorkspaceError, match="cannot be entered"):
            await workspace.user.list_dirty_paths()
    finally:
        project.folder.chmod(0o755)
