"""Files that tools leave behind: they stay in the folder and out of every commit."""

import os

import pytest

from orchestrator.workspace import candidate as candidates
from orchestrator.workspace import history
from orchestrator.workspace.scratch import find_scratch

CACHE = b"Signature: 8a477f597d28d172789f06886806bc55\n"
CORE = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x04\x00"

SCRATCH = {
    "a virtual environment": ({"env/pyvenv.cfg": "home = /usr/bin\n", "env/lib/x.py": ""}, "env/"),
    "one below a folder": ({"api/.venv/pyvenv.cfg": "home=/usr\n", "api/.venv/bin/python": ""}, "api/.venv/"),
    "packages of npm": (
        {"web/node_modules/a/index.js": "", "web/node_modules/.bin/a": ""},
        "web/node_modules/",
    ),
    "byte code": ({"src/__pycache__/a.cpython-313.pyc": ""}, "src/__pycache__/"),
    "byte code elsewhere": ({"src/a.pyc": ""}, "src/a.pyc"),
    "a cache of pytest": ({".pytest_cache/v/cache/lastfailed": "{}"}, ".pytest_cache/"),
    "a cache of mypy": ({".mypy_cache/3.13/a.json": "{}"}, ".mypy_cache/"),
    "a cache of ruff": ({".ruff_cache/1/x": ""}, ".ruff_cache/"),
    "environments of tox": ({".tox/py313/x": ""}, ".tox/"),
    "a cache of Gradle": ({".gradle/8/x": ""}, ".gradle/"),
    "a folder marked as a cache": ({"target/CACHEDIR.TAG": CACHE, "target/debug/app": ""}, "target/"),
    "a core dump with a number": ({"core.123": "dump"}, "core.123"),
    "a core dump": ({"core": CORE}, "core"),
    "a swap file of Vim": ({"src/.a.py.swp": ""}, "src/.a.py.swp"),
    "a backup of an editor": ({"a.py~": ""}, "a.py~"),
    "a lock of Emacs": ({".#a.py": ""}, ".#a.py"),
    "the output of a command under nohup": ({"nohup.out": ""}, "nohup.out"),
    "a file of the Finder": ({"docs/.DS_Store": ""}, "docs/.DS_Store"),
    "the outermost of two": (
        {"node_modules/a/__pycache__/x.pyc": "", "node_modules/a/x~": ""},
        "node_modules/",
    ),
}
WORK = {
    "a folder called target": {"target/main.c": ""},
    "a folder called env": {"env/settings.py": ""},
    "a mark that says nothing": {"env/pyvenv.cfg": "", "t/CACHEDIR.TAG": "x"},
    "a mark at the root": {"pyvenv.cfg": "home = /usr\n", "lib.py": ""},
    "a file called core": {"core": "text", "src/core.py": ""},
    "a program called core": {"core": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00"},
    "a file named like a cache": {"node_modules": "", "docs/__pycache__.md": ""},
    "a tool's configuration": {".coveragerc": "", ".eslintrc": "", ".terraform.lock.hcl": ""},
}


def write_all(folder, files):
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return tuple(files)


@pytest.mark.parametrize(("files", "expected"), SCRATCH.values(), ids=SCRATCH)
def test_what_a_tool_leaves_is_scratch(tmp_path, files, expected):
    assert find_scratch(tmp_path, write_all(tmp_path, files), ["a.py"]) == (expected,)


@pytest.mark.parametrize("files", WORK.values(), ids=WORK)
def test_work_is_not_scratch(tmp_path, files):
    assert find_scratch(tmp_path, write_all(tmp_path, files), []) == ()


def test_a_folder_with_a_tracked_file_belongs_to_the_project(tmp_path):
    paths = write_all(tmp_path, {"fixtures/node_modules/b/index.js": "", "node_modules/b/index.js": ""})
    tracked = ["fixtures/node_modules/a/index.js"]
    assert find_scratch(tmp_path, paths, tracked) == ("node_modules/",)


@pytest.mark.parametrize(
    ("wanted", "scratch"),
    [
        ({"core.12"}, ("node_modules/", "web/a.py~")),
        ({"core.12", "web/a.py~", "node_modules"}, ()),
        ({"node_modules/a.js"}, ("core.12", "node_modules/b.js", "web/a.py~")),
        ({"web/"}, ("core.12", "node_modules/")),
        ({"core"}, ("core.12", "node_modules/", "web/a.py~")),
    ],
)
def test_what_a_task_names_is_work(tmp_path, wanted, scratch):
    files = {"core.12": "", "web/a.py~": "", "node_modules/a.js": "", "node_modules/b.js": ""}
    assert find_scratch(tmp_path, write_all(tmp_path, files), [], wanted) == scratch


def test_marks_are_read_without_following_links_or_waiting(tmp_path):
    (tmp_path / "real.cfg").write_text("home = /usr\n")
    (tmp_path / "env").mkdir()
    (tmp_path / "env/pyvenv.cfg").symlink_to("../real.cfg")
    (tmp_path / "t").mkdir()
    os.mkfifo(tmp_path / "t/CACHEDIR.TAG")
    (tmp_path / "link").symlink_to("env")
    paths = ("env/pyvenv.cfg", "t/CACHEDIR.TAG", "link/pyvenv.cfg", "gone/pyvenv.cfg", "core")
    assert find_scratch(tmp_path, paths, []) == ()


async def test_scratch_is_in_no_commit_and_no_saved_tree_and_not_dirty(own_project):
    base = await own_project.git("rev-parse", "HEAD")
    workspace = await own_project.open()
    own_project.write(".venv/pyvenv.cfg", "home = /usr\n")
    own_project.write(".venv/.gitattributes", "* filter=evil\n")
    own_project.write(".venv/lib/a.py")
    own_project.write("core.7")
    assert await workspace.user.list_dirty_paths() == ()
    own_project.write("new.py")
    assert await workspace.user.list_dirty_paths() == ("new.py",)
    baseline = await workspace.tree.baseline()
    snapshot = await workspace.tree.snapshot(exclude=frozenset(), baseline=baseline)
    assert snapshot.scratch == (".venv/", "core.7")
    assert snapshot.left_out == ()
    saved = await workspace.tree.salvage("refs/s/1", parent=base, message="m\n", base=base)
    for tree in (snapshot.tree, saved):
        added = {change.path for change in await history.changes(workspace.store, base, tree)}
        assert added == {"new.py"}
    assert (own_project.folder / ".venv/lib/a.py").exists()


async def test_scratch_that_is_tracked_is_committed_and_ignored_scratch_is_not_named(own_project):
    own_project.write("node_modules/a.js")
    own_project.write(".gitignore", ".venv/\n")
    await own_project.commit()
    workspace = await own_project.open()
    own_project.write("node_modules/a.js", "changed\n")
    own_project.write("node_modules/b.js")
    own_project.write(".venv/pyvenv.cfg", "home = /usr\n")
    snapshot = await workspace.tree.snapshot(exclude=frozenset(), baseline=await workspace.tree.baseline())
    assert snapshot.scratch == ()
    listing = await workspace.store.git.text("ls-tree", "-r", "--name-only", snapshot.tree)
    assert "node_modules/b.js" in listing


async def test_a_repository_in_scratch_stays_where_it_is(own_project, area):
    """pip and npm clone dependencies there; their tools need the repository again."""
    workspace = await own_project.open()
    baseline = await workspace.tree.baseline()
    own_project.write("node_modules/dep/index.js")
    await own_project.git("init", "-q", "node_modules/dep")
    assert await workspace.tree.clear_oddities(baseline, area / "away") == ()
    await workspace.user.check_files()
    snapshot = await workspace.tree.snapshot(exclude=frozenset(), baseline=baseline)
    assert snapshot.scratch == ("node_modules/",)
    assert (own_project.folder / "node_modules/dep/.git").is_dir()


async def test_scratch_of_many_files_is_listed_as_one_folder(own_project):
    workspace = await own_project.open()
    for number in range(50):
        own_project.write(f"node_modules/p{number}/index.js")
    with workspace.user.checkout.copy_index() as git:
        assert await candidates.list_scratch(workspace.tree.checkout, git) == {"node_modules/"}
