"""Repositories that are not as most are: each is worked on like any other, or refused by name."""

import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest
from e2e_kit import REPORT, MakeScene, Scene, plan, task

pytestmark = pytest.mark.docker

AGENT = ("--agent-command", "./agent.sh")
"""With a slash in its name no container has to look whether it is there."""
WORKS = f"""#!/bin/bash
{REPORT}
echo made > made.txt; chmod +x tool.sh; printf 'one\\ntwo\\n' > lines.txt
report completed
"""


def start(scene: Scene, verify: str = "test -x tool.sh") -> None:
    scene.write("agent.sh", WORKS).chmod(0o755)
    scene.commit(plan__md=plan(task("1", verify)), tool__sh="true\n", lines__txt="one\n")


def linked_worktree(scene: Scene) -> Scene:
    start(scene)
    scene.git("worktree", "add", "-q", "--detach", str(scene.area / "tree"))
    return replace(scene, folder=scene.area / "tree")


def cloned(*options: str) -> Callable[[Scene], Scene]:
    def make(scene: Scene) -> Scene:
        start(scene)
        scene.git("commit", "-q", "--allow-empty", "-m", "another")
        scene.git("clone", "-q", *options, f"file://{scene.folder}", str(scene.area / "clone"))
        clone = replace(scene, folder=scene.area / "clone")
        clone.git("config", "user.name", "Ada")
        clone.git("config", "user.email", "ada@example.org")
        return clone

    return make


def borrowing(scene: Scene) -> Scene:
    start(scene)
    scene.git("clone", "-q", "--shared", str(scene.folder), str(scene.area / "middle"))
    scene.git("clone", "-q", "--shared", str(scene.area / "middle"), str(scene.area / "clone"))
    return replace(scene, folder=scene.area / "clone")


def packed(scene: Scene) -> Scene:
    start(scene)
    scene.git("gc", "-q", "--prune=now")
    scene.git("pack-refs", "--all", "--prune")
    return scene


def split_index(scene: Scene) -> Scene:
    start(scene)
    scene.git("config", "core.splitIndex", "true")
    scene.git("update-index", "--split-index")
    assert list((scene.folder / ".git").glob("sharedindex.*"))
    return scene


def sha256(scene: Scene) -> Scene:
    shutil.rmtree(scene.folder / ".git")
    scene.git("init", "-q", "-b", "main", "--object-format=sha256")
    scene.git("config", "user.name", "Ada")
    scene.git("config", "user.email", "ada@example.org")
    start(scene)
    return scene


def tagged(scene: Scene) -> Scene:
    start(scene, "git describe --tags | grep -q '^v1.0-1-g'")
    scene.git("tag", "-m", "the first", "v1.0")
    return scene


def first_commit_only(scene: Scene) -> Scene:
    start(scene)
    return scene


def detached(scene: Scene) -> Scene:
    start(scene)
    scene.git("switch", "-q", "--detach")
    return scene


def carriage_returns(scene: Scene) -> Scene:
    scene.git("config", "core.autocrlf", "true")
    scene.write(".gitattributes", "*.sh text eol=lf\n*.bin binary\n")
    scene.write("a.bin", b"\0\r\n\n")
    scene.write("dos.txt", "one\r\ntwo\r\n")
    start(scene)
    return scene


def line_ends_by_attribute(scene: Scene) -> Scene:
    scene.write(".gitattributes", "lines.txt text eol=crlf\n")
    start(scene)
    return scene


def modes_ignored(scene: Scene) -> Scene:
    scene.git("config", "core.fileMode", "false")
    start(scene, "test -s made.txt")
    return scene


WORKED_ON = {
    "a linked worktree": linked_worktree,
    "a shallow clone": cloned("--depth", "1"),
    "a git directory apart": cloned("--separate-git-dir", "apart.git"),
    "packed objects and refs": packed,
    "a split index": split_index,
    "objects of another repository's": borrowing,
    "sha256": sha256,
    "tags for git describe": tagged,
    "the first commit only": first_commit_only,
    "a detached HEAD": detached,
    "core.autocrlf": carriage_returns,
    "line ends by attribute": line_ends_by_attribute,
    "modes that do not count": modes_ignored,
}


@pytest.mark.parametrize("make", WORKED_ON.values(), ids=WORKED_ON)
def test_a_run_completes_in_an_odd_repository(
    new_scene: MakeScene, make: Callable[[Scene], Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = new_scene()
    monkeypatch.chdir(first.area)
    scene = make(first)
    done = scene.run(*AGENT, "-c", "limits.attempts=1")
    assert done.exit_code == 0, done
    assert scene.git("symbolic-ref", "HEAD") == "refs/heads/work"
    assert scene.git("log", "-1", "--format=%s") == "1: Do it"
    assert scene.git("show", "HEAD:lines.txt") == "one\ntwo"
    mode = scene.git("ls-tree", "HEAD", "tool.sh").split()[0]
    assert mode == ("100644" if make is modes_ignored else "100755")
    assert scene.git("status", "--porcelain") == ""
    assert scene.git("fsck", "--strict", "--no-dangling") == ""
    undone = scene.orchestrator("undo", done.run, "1")
    assert undone.exit_code == 0, undone
    assert scene.git("status", "--porcelain") == ""
    assert not (scene.folder / "made.txt").exists()
    assert scene.containers() == []


def submodule(scene: Scene) -> None:
    other = scene.area / "other"
    other.mkdir()
    scene.git("init", "-q", str(other))
    scene.git(
        "-C",
        str(other),
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@y",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "x",
    )
    scene.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "sub")
    scene.git("commit", "-q", "-m", "a submodule")


def merge(scene: Scene) -> None:
    scene.git("switch", "-q", "-c", "other")
    scene.git("commit", "-q", "--allow-empty", "-m", "theirs")
    scene.git("switch", "-q", "main")
    scene.git("merge", "-q", "--no-ff", "--no-commit", "other")


def no_commit(scene: Scene) -> None:
    scene.git("update-ref", "-d", "refs/heads/main")


def sparse(scene: Scene) -> None:
    scene.git("sparse-checkout", "set", "--no-cone", "/*", "!lines.txt")


def nested(scene: Scene) -> None:
    scene.git("init", "-q", "inner")


def filtered(scene: Scene) -> None:
    scene.commit(__gitattributes="*.bin filter=lfs\n", big__bin="x")


REFUSED: dict[str, tuple[Callable[[Scene], object], str]] = {
    "submodules": (submodule, "submodules"),
    "a merge in progress": (merge, "a merge is in progress"),
    "no commit": (no_commit, "no commit yet"),
    "a sparse checkout": (sparse, "sparse checkouts"),
    "a nested repository": (nested, "inner/.git"),
    "a filter": (filtered, "filter=lfs"),
    "a partial clone": (lambda scene: scene.git("config", "remote.o.promisor", "true"), "partial clones"),
    "a bare repository": (lambda scene: scene.git("config", "core.bare", "true"), "bare"),
}


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED)
def test_an_unsupported_repository_is_refused_before_anything_starts(
    new_scene: MakeScene, make: Callable[[Scene], object], says: str
) -> None:
    scene = new_scene()
    start(scene)
    make(scene)
    before = scene.picture()
    done = scene.run(*AGENT)
    assert (done.exit_code, done.stdout) == (2, b""), done
    assert says in done.err
    assert scene.picture() == before
    assert not scene.ever_started()
