"""One user, one repository, and the real command in forked processes: the steps of that user's history.

The command is not started as a new interpreter, which would be half of the time; a fork of this one calls its
`main`, so that a signal, a directory or a lock of one command never reaches another.
"""

import os
import re
import signal
import subprocess  # noqa: TID251 - reads our repository with the plain git of a user
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

from e2e_kit import Scene, docker, plan, task
from forked import be_the_command
from mount_kit import check_sound

from orchestrator.cli.main import main

PATHS = ("a.txt", "b.txt", "made.txt", "deep/c.txt", "HANDOFF_plan.md")
"""Where user and agent both write."""
AGENT = """\
#!/bin/bash
report() { printf '{"status": "%s", "summary": "%s"}' "$1" "${2:-}" > "$ORCHESTRATOR_OUTCOME"; }
. ./.behaviour
"""
BEHAVIOURS: Mapping[str, str] = {
    "works": "echo $N > made-$ORCHESTRATOR_TASK.txt; rm -f bad.txt; report completed",
    "writes over files": "mkdir -p deep; echo $N | tee a.txt made.txt > deep/c.txt; report completed",
    "deletes files": "rm -rf a.txt deep bad.txt; echo $N > made.txt; report completed",
    "writes the hand-off": "echo agent $N | tee HANDOFF_plan.md > b.txt; rm -f bad.txt; report completed",
    "fails its gate": "echo $N | tee made.txt > bad.txt; report completed",
    "says failed": "echo $N > a.txt; report failed",
    "falls over": "echo $N > b.txt; exit 7",
    "leaves a tree that git refuses": "mkdir -p s; echo x > 's/git~1'; echo $N > a.txt; report completed",
}
KNOWN_EXITS = frozenset({0, 1, 2, 4, 130, -signal.SIGKILL})


@dataclass(slots=True)
class History:
    """The repository as the user knows it, and all content of the user's that must be found again."""

    scene: Scene
    number: int = 0
    contents: set[bytes] = field(default_factory=set)
    """Contents that the user wrote and has not removed."""
    commits: set[str] = field(default_factory=set)
    commands: list[str] = field(default_factory=list)

    def begin(self) -> None:
        tasks = [task("1", "test ! -e bad.txt"), task("2", depends="1")]
        self.scene.write("a.txt", "first a\n")
        self.scene.write("agent.sh", AGENT).chmod(0o755)
        self.scene.commit(plan__md=plan(*tasks), __gitignore=".behaviour\n", b__txt="first b\n")
        self.behave("works")
        self.remember()

    # What the user does

    def behave(self, name: str) -> None:
        """Choose the agent's behaviour from now on."""
        self.number += 1
        self.scene.write(".behaviour", f"N={self.number}-$ORCHESTRATOR_TASK\n{BEHAVIOURS[name]}\n")

    def write(self, path: str) -> None:
        self.number += 1
        content = f"the user's {self.number}\n"
        if (self.scene.folder / path).parent.is_file() or (self.scene.folder / path).is_dir():
            return
        self.scene.write(path, content)
        self.contents.add(content.encode())

    def edit_plan(self) -> None:
        """The text of the first or of the second task."""
        self.number += 1
        plan = self.scene.folder / "plan.md"
        before, task, after = plan.read_text().partition("## Task 2")
        if self.number % 2:
            after += f"More {self.number}.\n"
        else:
            before += f"More {self.number}.\n"
        plan.write_text(before + task + after)
        self.contents.add(plan.read_bytes())

    def delete(self, path: str) -> None:
        (self.scene.folder / path).unlink(missing_ok=True)

    def move(self, path: str) -> None:
        if (self.scene.folder / path).exists():
            (self.scene.folder / path).rename(self.scene.folder / "moved.txt")

    def stage(self) -> None:
        self.git("add", "-A")

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", f"user's {self.number}")

    def tidy(self) -> None:
        """A mode change and a collection of garbage: what a tidy user does."""
        (self.scene.folder / "plan.md").chmod(0o755)
        self.git("gc", "-q", "--prune=now")

    def act(self, deed: Callable[[], object]) -> None:
        """The user may discard files; the files that they made and kept have to stay."""
        deed()
        self.contents &= self.found()
        self.remember()

    def git(self, *words: str) -> None:
        """Git of the user's, who removes a lock that a killed command left, as git advises."""
        (self.scene.folder / ".git" / "index.lock").unlink(missing_ok=True)
        if self.refused_by_git():
            words = (*words[:2], ":!s") if words == ("add", "-A") else words
        self.scene.git(*words)

    def refused_by_git(self) -> bool:
        return (self.scene.folder / "s").exists()

    def remember(self) -> None:
        self.commits |= {commit for commit, run, _ in self._log("--all") if not run}

    def _log(self, *which: str) -> list[list[str]]:
        """Commits with the run and the evidence that their trailers name, both empty for the user's own."""
        trailers = [f"%(trailers:key=Orchestrator-{key},valueonly,separator=)" for key in ("Run", "Evidence")]
        listed = self.scene.git("log", f"--format={'|'.join(['%H', *trailers])}", *which)
        return [line.split("|") for line in listed.splitlines()]

    # What the orchestrator does

    def command(self, *words: str, kill_after: int | None = None) -> int:
        """Run one command, killed after so many lines of its output; then look whether all is still there."""
        code = self._run(words, kill_after)
        self._wait_for_containers()
        assert code in KNOWN_EXITS, (words, code, self.commands[-1])
        self.check(words)
        return code

    def check(self, words: tuple[str, ...]) -> None:
        lost = self.contents - self.found()
        assert not lost, (words, lost, self.commands[-1])
        gone = self.commits - self.all_commits()
        assert not gone, (words, gone, self.commands[-1])
        self.check_evidence()
        assert self.scene.git("fsck", "--strict", "--no-dangling") == ""

    def check_evidence(self) -> None:
        """A run calls each commit of the orchestrator on the branch landed, with gates that passed."""
        for commit, run, evidence in self._log("HEAD"):
            if not run:
                continue
            assert self.scene.run_folder(run).is_dir(), (commit, run)
            for name in filter(None, evidence.split(",")):
                assert self.scene.evidence(run, name)["verdict"] == "pass", (commit, name)

    def _run(self, words: tuple[str, ...], kill_after: int | None) -> int:
        out = self.scene.area / "out"
        out.write_bytes(b"")
        child = os.fork()
        if child == 0:
            _be_the_command(self.scene, out, words)
        if kill_after is not None:
            _kill_after(child, out, kill_after, counts_lines="--json" in words)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        self.commands.append(f"{words} -> {code}\n{out.read_text(errors='replace')}")
        return code

    def _wait_for_containers(self) -> None:
        """Wait until the containers of a killed owner have ended; the user may edit the folder then."""
        mine = (
            "--filter",
            f"label=ktrdr.state={self.scene.state_id}",
            "--filter",
            "label=ktrdr.kind=attempt",
        )
        if running := docker("ps", *mine, "--format", "{{.Names}}").split():
            docker("wait", *running)

    # What there is

    def found(self) -> set[bytes]:
        """Every content in the folder, the user's index, and below any ref of their repository or ours."""
        files = [path for path in self.scene.folder.rglob("*") if path.is_file() and ".git" not in path.parts]
        seen = {path.read_bytes() for path in files}
        git_dir = self.scene.folder / ".git"
        seen |= blobs(git_dir, git_dir, "--all", "--indexed-objects", "HEAD")
        for own in self._ours():
            seen |= blobs(own, git_dir, "--all")
        return seen

    def all_commits(self) -> set[str]:
        git_dir = self.scene.folder / ".git"
        ours = [commit for own in self._ours() for commit in reached(own, git_dir, "--all")]
        return {*reached(git_dir, git_dir, "--all", "HEAD"), *ours}

    def _ours(self) -> list[Path]:
        return list((self.scene.state / "repositories").glob("[0-9a-f]*"))


def reached(git_dir: Path, lender: Path, *which: str) -> list[str]:
    """The ids that a repository's refs reach, the user's objects lent to it."""
    return git(git_dir, lender, "rev-list", *which).decode().split()


def blobs(git_dir: Path, lender: Path, *which: str) -> set[bytes]:
    """The contents of all files that a repository's refs reach."""
    ids = reached(git_dir, lender, "--objects", "--no-object-names", *which)
    answer = git(git_dir, lender, "cat-file", "--batch", stdin="\n".join(ids).encode())
    found = set()
    while answer:
        head, _, rest = answer.partition(b"\n")
        _, kind, size = head.split()
        if kind == b"blob":
            found.add(rest[: int(size)])
        answer = rest[int(size) + 1 :]
    return found


def git(git_dir: Path, lender: Path, *words: str, stdin: bytes = b"") -> bytes:
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_DIR": str(git_dir),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(lender / "objects"),
    }
    done = subprocess.run(["git", *words], env=environment, input=stdin, capture_output=True, check=True)
    return done.stdout


def finish(history: History) -> None:
    """From wherever it stands the commands get to a completed run, as their own hints say."""
    history.act(lambda: history.behave("works"))
    if history.refused_by_git():
        (history.scene.folder / "s" / "git~1").unlink()
        (history.scene.folder / "s").rmdir()
    (history.scene.folder / "bad.txt").unlink(missing_ok=True)
    for words in (
        ("resume",),
        ("run", "plan.md", "--allow-dirty"),
        ("run", "plan.md", "--new", "--allow-dirty"),
    ):
        options = ("--agent-command", "./agent.sh", "--json")
        if history.command(*words, *options) == 0:
            break
        switch = re.search(r"git switch (\S+)", history.commands[-1])
        if switch is not None:
            history.act(partial(switched, history, switch[1]))
    else:
        raise AssertionError("\n".join(history.commands))
    check_sound(history.scene)


def switched(history: History, branch: str) -> None:
    history.commit()
    history.git("switch", "-q", branch)


def _be_the_command(scene: Scene, out: Path, words: tuple[str, ...]) -> NoReturn:
    """In the fork: never returns."""
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(scene.folder)
    be_the_command(main, words, scene.environment({}))


def _kill_after(child: int, out: Path, number: int, *, counts_lines: bool) -> None:
    """Kill it once it has printed so many events, else after so many fortieths of a second.

    One that ends before is left to.
    """
    deadline = time.monotonic() + number / 40
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        events = out.read_bytes().count(b"\n")
        if events >= number if counts_lines else time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            return
        time.sleep(0.002)
