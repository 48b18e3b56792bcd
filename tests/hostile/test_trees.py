"""Trees that an agent leaves to break, to trick or to smuggle: what lands, what does not, and the messages.

Every one is made by a program in a real container. After each of them the repository is whole, the
user's git shows the changes that the user has to decide about, and the command never failed by a bug of the
orchestrator.
"""

import os
from dataclasses import dataclass

import pytest
from e2e_kit import REPORT, Done, Scene, plan, task

pytestmark = pytest.mark.docker

AGENT = ("--agent-command", "./agent.sh")
MANY = int(os.environ.get("MANY_FILES", "10000"))
"""`make soak` makes more."""
SECRET = "KEY=sesame\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trick:
    script: str
    lands: bool = True
    names: str = ""
    """The path that the reason names if the tree does not land."""
    status: tuple[str, ...] = ()
    """The lines of the user's own `git status` afterwards."""
    has: tuple[str, ...] = ("made.txt",)
    """The files of the landed commit."""
    has_not: tuple[str, ...] = ()


SOCKET = 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'
MADE = "echo made > made.txt"
GIT = "git -c user.name=x -c user.email=x@example.org"
TRICKS = {
    "a pipe and a socket": Trick(
        script=f"mkfifo pipe sub/pipe; python3 -c '{SOCKET}'",
        has_not=("pipe", "sock"),
    ),
    "a pipe called .gitignore": Trick(
        script="rm .gitignore; mkfifo .gitignore sub/.gitignore", status=("?? .env",), has_not=(".env",)
    ),
    "a pipe called .gitattributes": Trick(script="mkfifo .gitattributes sub/.gitattributes"),
    "names of devices": Trick(
        script="for n in con aux nul COM1 'c:' 'a\\b' '-' '--all'; do echo x > ./$n; done"
    ),
    "names that are not UTF-8 or hold newlines": Trick(
        script="echo x > \"$(printf 'b\\377d')\"; echo x > \"$(printf 'two\\nlines')\"; echo x > '\"q\"'"
    ),
    "names that are pathspecs": Trick(script="mkdir -p ':(top)x'; echo x > ':(top)x/:!*'; echo x > '*'"),
    "an empty nested repository": Trick(
        script="git init -q nested; echo x > nested/file", has=("nested/file",)
    ),
    "a nested repository with commits": Trick(
        script=f"git init -q nested; cd nested; echo x > file; git add file; {GIT} commit -q -m x; cd ..",
        has=("nested/file",),
    ),
    "a repository in an ignored folder": Trick(script="git init -q build/nested", has_not=("build/nested",)),
    "a link to a repository": Trick(
        script="mkdir far; echo 'gitdir: ../.git' > far/.git; echo x > far/file", has=("far/file",)
    ),
    "the git directory emptied": Trick(script="rm -rf .git/* 2>/dev/null; true"),
    "a git directory beside the mounted one": Trick(
        script="mv .git x 2>/dev/null; rm -rf .git 2>/dev/null; true"
    ),
    "gc and prune": Trick(script="git gc -q --prune=now; git reflog expire --expire=now --all; git prune"),
    "a stash": Trick(script="echo mine >> user.txt; git stash -q", has=("user.txt",)),
    "a checkout of something else": Trick(script="git checkout -q --orphan other; git rm -q -f user.txt"),
    "reset --hard to the beginning": Trick(script="git reset -q --hard HEAD~1; git branch -D main", has=()),
    "clean -fdx": Trick(script="git clean -q -fdx"),
    "a rebase and commits of its own": Trick(
        script=f"echo x > x; git add x; {GIT} commit -q -m x; {GIT} rebase -q --root HEAD"
    ),
    "a rename of case only": Trick(script="mv user.txt USER.txt", has=("USER.txt",), has_not=("user.txt",)),
    "a folder replaced by a link out of the tree": Trick(script="rm -r sub; ln -s /etc sub", has=("sub",)),
    "links that lead nowhere and to themselves": Trick(
        script="ln -s /nonexistent a; ln -s b b; ln -s .git c"
    ),
    "submodules that are none": Trick(
        script="printf '[submodule \"../x\"]\\n\\tpath = -x\\n\\turl = --upload-pack=x\\n' > .gitmodules",
        lands=False,
        names="fsck",
    ),
    "git files that are links": Trick(
        script="ln -s ../user.txt sub/.gitignore", lands=False, names="sub/.gitignore"
    ),
    "unreadable submodules": Trick(script="echo '[sub' > .gitmodules", lands=False, names="gitmodulesParse"),
    "un-ignored secrets": Trick(script=": > .gitignore", status=("?? .env",), has_not=(".env",)),
    "a file over 50 MB": Trick(
        script="head -c 51000000 /dev/zero > big.bin", status=("?? big.bin",), has_not=("big.bin",)
    ),
    "an own .git in a subfolder's case": Trick(
        script="mkdir -p s/.GIT; echo x > s/.GIT/config", lands=False, names=".GIT"
    ),
    "a short name of .git": Trick(script="mkdir s; echo x > 's/git~1'", lands=False, names="git~1"),
    "a file of mode 000": Trick(script="echo x > shut; chmod 000 shut", lands=False, names="shut"),
    "a folder of mode 000": Trick(
        script="mkdir shut; echo x > shut/in; chmod 000 shut", lands=False, names="shut"
    ),
    "attributes with a filter": Trick(
        script="echo '* filter=x' > .gitattributes", lands=False, names="filter=x"
    ),
    "an encoding": Trick(
        script="echo '*.txt working-tree-encoding=UTF-16' > sub/.gitattributes; echo x > sub/a.txt",
        lands=False,
        names="working-tree-encoding",
    ),
    "a link where the hand-off goes": Trick(
        script="ln -s ../../../../etc/hostname docs/HANDOFF_plan.md", lands=False, names="HANDOFF_plan.md"
    ),
    "a folder where the hand-off goes": Trick(
        script="mkdir -p docs/HANDOFF_plan.md/x", lands=False, names="HANDOFF_plan.md"
    ),
    "a pipe where the hand-off goes": Trick(script="mkfifo docs/HANDOFF_plan.md"),
    "a link in the plan's path": Trick(
        script="mv docs elsewhere; ln -s elsewhere docs", lands=False, names="docs"
    ),
}


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS)
def test_a_hostile_tree_lands_or_is_refused_safely(scene: Scene, trick: Trick) -> None:
    scene.commit(user__txt="the user's\n", __gitignore=".env\nbuild/\n")
    scene.write(".env", SECRET)
    scene.write("sub/file.txt", "text\n")
    write_agent(scene, f"{trick.script}\n{MADE}")
    scene.write("docs/plan.md", plan(task("1")))
    scene.commit()
    base = scene.git("rev-parse", "HEAD")
    done = scene.run(*AGENT, "-c", "limits.attempts=1", plan="docs/plan.md")
    check(scene, trick, base, done)


def test_a_link_that_git_warned_of_before_does_not_block_a_run(scene: Scene) -> None:
    (scene.folder / ".gitignore").symlink_to("ignored")
    write_agent(scene, MADE)
    scene.commit(plan__md=plan(task("1")), ignored="build/\n")
    done = scene.run(*AGENT)
    assert done.exit_code == 0, done
    assert len(scene.commits("work", since=done.events[0]["base"])) == 1


def write_agent(scene: Scene, does: str) -> None:
    """With a slash in its name no container has to look whether it is there."""
    scene.write("agent.sh", f"#!/bin/bash\n{REPORT}\n{does}\nreport completed\n").chmod(0o755)


def check(scene: Scene, trick: Trick, base: str, done: Done) -> None:
    assert done.exit_code == (0 if trick.lands else 1), done
    assert [event["status"] for event in done.of("attempt_ended")] == ["completed"]
    assert scene.git("fsck", "--strict", "--no-dangling") == ""
    assert scene.containers() == []
    assert not [path for path in (scene.folder / ".git").iterdir() if path.name.startswith("orchestrator")]
    assert scene.git("rev-parse", "main") == base
    if not trick.lands:
        assert trick.names in done.end["reason"], done
        assert scene.git("rev-parse", "work") == base
        assert scene.git("diff", "--cached", "--name-only") == ""
        return
    tree = scene.git("ls-tree", "-r", "--name-only", "-z", "work").split("\0")
    assert set(trick.has) <= set(tree)
    assert not set(trick.has_not) & set(tree)
    assert tuple(scene.git("status", "--porcelain").splitlines()) == trick.status
    if (scene.folder / ".env").exists():
        assert (scene.folder / ".env").read_text() == SECRET


def test_a_tree_of_very_many_small_files_lands(scene: Scene) -> None:
    many = f"mkdir many; cd many; seq {MANY} | split -l 1 -a 5 - f; cd .."
    write_agent(scene, many)
    scene.commit(plan__md=plan(task("1")))
    done = scene.run(*AGENT)
    assert done.exit_code == 0, done
    assert len(scene.git("ls-tree", "-r", "--name-only", "work:many").splitlines()) == MANY
    assert scene.git("status", "--porcelain") == ""
    assert scene.git("fsck", "--strict", "--no-dangling") == ""
