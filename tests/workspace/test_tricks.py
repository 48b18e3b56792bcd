"""A tree or a configuration can make git run, include or read files; ours does none of it.

Each trick is first shown to work, so that the test would notice if it did not.
"""

import ast
import os
from pathlib import Path

import pytest

import orchestrator
from orchestrator.workspace import container_git, history


@pytest.fixture
def marker(area):
    """A file that appears when a trick's program has run."""
    (area / "ran").mkdir(mode=0o777)
    (area / "ran").chmod(0o777)
    return area / "ran" / "marker"


@pytest.fixture
def program(area, marker):
    script = area / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch '{marker}'\ncat\n")
    script.chmod(0o755)
    return script


async def file_system_monitor(project, program):
    await project.git("config", "core.fsmonitor", str(program))


async def hook(project, program):
    hooks = project.folder / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("reference-transaction", "post-index-change", "pre-commit", "post-commit"):
        (hooks / name).write_bytes(program.read_bytes())
        (hooks / name).chmod(0o755)


async def hooks_path_in_the_tree(project, program):
    project.write("hooks/reference-transaction", program.read_bytes()).chmod(0o755)
    project.write("hooks/post-index-change", program.read_bytes()).chmod(0o755)
    await project.git("config", "core.hooksPath", "hooks")
    await project.commit()


async def included_from_the_tree(project, program):
    project.write("settings", f"[core]\n\tfsmonitor = {program}\n\thooksPath = {program.parent}\n")
    await project.git("config", "include.path", "../settings")
    project.write(".gitignore", "settings\n*.log\n.env\nbuild/\n")
    await project.commit()


async def clean_filter(project, program):
    """Not refused, because the attribute is only planted after the folder was opened."""
    await project.git("config", "filter.evil.clean", str(program))
    await project.git("config", "diff.evil.textconv", str(program))
    await project.git("config", "diff.evil.command", str(program))


async def global_configuration(project, program):
    (project.home / ".gitconfig").write_text(f"[core]\n\tfsmonitor = {program}\n")


@pytest.mark.parametrize(
    "trick",
    [file_system_monitor, hook, hooks_path_in_the_tree, included_from_the_tree, global_configuration],
    ids=lambda trick: trick.__name__,
)
async def test_no_program_that_an_agent_planted_runs(project, program, marker, trick):
    await trick(project, program)
    project.own()
    project.write("a.py", "print('naive')\n")
    await project.try_git("add", "-A")
    await project.try_git("commit", "-q", "-m", "naive")
    assert marker.exists(), "the trick does not work against a naive git"
    marker.unlink()
    await project.try_git("reset", "-q", "--hard", "HEAD")
    base = await project.git("rev-parse", "HEAD")
    marker.unlink(missing_ok=True)

    await everything(project, base)
    assert not marker.exists()


async def everything(project, base):
    """A whole task, from opening to landing, with a branch, a saved tree and what containers get."""
    workspace = await project.open()
    await workspace.user.list_dirty_paths()
    await workspace.user.pin_base("r1", base)
    await workspace.user.check_branch("work")
    await workspace.user.make_branch("work", base)
    baseline = await workspace.tree.baseline()
    await workspace.tree.make_git_dir(project.folder.parent / "agent.git", branch="work")
    project.write("a.py", "print('task')\n")
    project.write("n/new.py", "print('new')\n")
    await workspace.tree.clear_oddities(baseline, project.folder.parent / "evidence")
    await workspace.tree.salvage("refs/trees/1", parent=base, message="m\n", base=base)
    snapshot = await workspace.tree.snapshot(exclude=frozenset(), baseline=baseline)
    made = await workspace.tree.build_candidate(
        snapshot, parent=base, message="m\n", overlay={"H.md": b"x\n"}, ref="refs/c/1", base=base
    )
    await history.changes(workspace.store, base, made.commit)
    await container_git.write_gate_archive(
        workspace.store, made.commit, project.folder.parent / "gate.tar", uid=1, gid=1
    )
    await container_git.make_gate_git_dir(
        workspace.store, project.folder.parent / "gate.git", commit=made.commit, branch="work"
    )
    await workspace.tree.land(made.commit, branch="work", expected=base)
    await history.find_landed(workspace.store, tip=made.commit, base=base, run="r1")


# A shell drops the rights of the user who is ordinary for the test only.
@pytest.mark.parametrize(
    "project", ["caller", "root on another's"] if os.geteuid() == 0 else ["caller"], indirect=True
)
@pytest.mark.parametrize("where", ["bin", ".", "", "../project/bin"])
async def test_a_git_planted_on_the_path_does_not_run(project, marker, monkeypatch, where):
    project.write("bin/git", f"#!/bin/sh\ntouch '{marker}'\nexec /usr/bin/git \"$@\"\n").chmod(0o755)
    project.write("git", f"#!/bin/sh\ntouch '{marker}'\nexec /usr/bin/git \"$@\"\n").chmod(0o755)
    project.own()
    planted = str(project.folder / where) if where.endswith("bin") else where
    monkeypatch.setenv("PATH", f"{planted}{os.pathsep}{os.environ['PATH']}")
    base = await project.commit()
    assert marker.exists(), "the trick does not work against a naive git"
    marker.unlink()
    await everything(project, base)
    assert not marker.exists()


async def test_filters_and_converters_do_not_run(project, program, marker):
    await clean_filter(project, program)
    base = await project.git("rev-parse", "HEAD")
    workspace = await project.open()
    baseline = await workspace.tree.baseline()
    project.write(".gitattributes", "*.py filter=evil diff=evil\n")
    project.write("a.py", "print('naive')\n")
    await project.git("diff")
    assert marker.exists(), "the trick does not work against a naive git"
    marker.unlink()
    await workspace.tree.salvage("refs/trees/1", parent=base, message="m\n", base=base)
    with pytest.raises(Exception, match="filter=evil"):
        await workspace.tree.snapshot(exclude=frozenset(), baseline=baseline)
    await history.changes(workspace.store, base, await workspace.store.git.text("rev-parse", "refs/trees/1"))
    assert not marker.exists()


async def test_a_missing_object_is_not_fetched_by_a_transport(project, marker):
    """An agent's include may name a promisor remote whose address is a command."""
    base = await project.git("rev-parse", "HEAD")
    blob = await project.git("rev-parse", "HEAD:a.py")
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "evil",
        "remote.evil.url": f"ext::touch {marker}",
        "remote.evil.promisor": "true",
        "protocol.ext.allow": "always",
    }.items():
        await project.git("config", name, value)
    (project.folder / ".git/objects" / blob[:2] / blob[2:]).unlink()
    await project.try_git("cat-file", "-p", blob)
    assert marker.exists(), "the trick does not work against a naive git"
    marker.unlink()
    users = (await layout_of(project)).users_git
    assert (await users.try_run("cat-file", "-p", blob)).exit_code != 0
    assert (await users.try_run("rev-parse", f"{base}^{{commit}}")).exit_code == 0
    assert not marker.exists()


async def layout_of(project):
    from orchestrator.workspace.folder import read_layout

    return await read_layout(project.folder, os.environ)


async def test_settings_from_the_tree_are_ignored_and_reported(project):
    project.write("settings", "[user]\n\tname = Mallory\n[core]\n\tautocrlf = true\n")
    project.write("ignored", "*.x\n")
    await project.git("config", "include.path", "../settings")
    await project.git("config", "core.excludesFile", "ignored")
    assert await project.git("config", "user.name") == "Mallory"
    workspace = await project.open()
    assert workspace.store.author.name == "Ada"
    assert dict(workspace.store.taken_over).get("core.autocrlf") is None
    assert any("include.path = ../settings" in notice for notice in workspace.user.notices)
    assert any("core.excludesfile = ignored" in notice for notice in workspace.user.notices)


@pytest.mark.parametrize("inherited", ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY"])
async def test_the_callers_git_variables_do_not_reach_git(project, monkeypatch, area, inherited):
    monkeypatch.setenv(inherited, str(area / "elsewhere"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.bare")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    assert (await (await project.open()).user.head()).branch == "main"


def test_only_one_module_starts_git():
    package = Path(orchestrator.__file__).parent
    starters = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if _starts_git(ast.parse(path.read_text("utf-8")))
    }
    assert starters == {"workspace/git.py", "testing/project.py"}


def _starts_git(module: ast.Module) -> bool:
    """A list or tuple of words whose first is git, other than to loop over: what a command line is."""
    looped = {id(node.iter) for node in ast.walk(module) if isinstance(node, ast.For)}
    return any(
        isinstance(node, ast.List | ast.Tuple)
        and id(node) not in looped
        and node.elts
        and isinstance(node.elts[0], ast.Constant)
        and node.elts[0].value in ("git", "/usr/bin/git")
        for node in ast.walk(module)
    )
