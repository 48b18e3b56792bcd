"""Time that the workspace adds to a task: its steps against `git add -A && git commit` of the same edit.

For trees of 10, 1,000 and 10,000 files one file is edited by turns in two copies of a repository: plain git
commits it in one, the steps of one task (as the engine takes them) land it in the other. Medians of
the rounds, and their ratios; no container is started on either side.
Run: python benchmarks/workspace.py [ROUNDS]
"""

import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.clock import SystemClock
from orchestrator.subprocesses import run
from orchestrator.workspace import container_git, history
from orchestrator.workspace.workspace import Workspace

SIZES = (10, 1_000, 10_000)
PER_FOLDER = 100
BRANCH = "work"
PLAIN = "plain git add -A && git commit"

Steps = dict[str, list[float]]


async def git(folder: Path, *words: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder.parent), "GIT_CONFIG_NOSYSTEM": "1"}
    done = await run(("git", *words), timeout=600, env=environment, cwd=folder)
    if done.exit_code != 0:
        raise SystemExit(done.stderr.decode())
    return done.stdout.decode().strip()


async def make_repository(folder: Path, files: int) -> None:
    for number in range(files):
        path = folder / f"d{number // PER_FOLDER}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n" * 20)
    await git(folder, "init", "-q", "-b", BRANCH)
    await git(folder, "config", "user.name", "Ada")
    await git(folder, "config", "user.email", "ada@example.org")
    # Maintenance in the background would still write when the folder is removed.
    await git(folder, "config", "gc.auto", "0")
    await git(folder, "add", "-A")
    await git(folder, "commit", "-q", "-m", "first")


def edit(folder: Path, round_: int) -> None:
    with (folder / "d0" / "1.txt").open("a") as file:
        file.write(f"round {round_}\n")


@contextmanager
def timed(steps: Steps, name: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    steps.setdefault(name, []).append(time.perf_counter() - begun)


async def plain(steps: Steps, folder: Path, round_: int) -> None:
    edit(folder, round_)
    with timed(steps, PLAIN):
        await git(folder, "add", "-A")
        await git(folder, "commit", "-q", "-m", f"round {round_}")


async def task(steps: Steps, workspace: Workspace, area: Path, base: str, round_: int) -> None:
    """The steps of one task with a gate, in the engine's order."""
    folder, head, scratch = (
        workspace.tree.folder,
        (await workspace.user.head()).commit,
        area / f"round-{round_}",
    )
    scratch.mkdir()
    with timed(steps, "edits by hand, looked for twice"):
        for _ in range(2):
            before = await workspace.tree.baseline()
            now = await workspace.tree.snapshot(exclude=frozenset(), baseline=before)
            await history.changes(workspace.store, head, now.tree)
            await workspace.user.set_staged_aside(
                branch=BRANCH, head=head, ref="refs/ktrdr/staged/b/1", base=base
            )
    with timed(steps, "baseline and the agent's git directory"):
        baseline = await workspace.tree.baseline()
        await workspace.tree.make_git_dir(scratch / "git", branch=BRANCH)
    edit(folder, round_)
    with timed(steps, "candidate"):
        await workspace.tree.clear_oddities(baseline, scratch / "moved-away")
        snapshot = await workspace.tree.snapshot(exclude=frozenset(), baseline=baseline)
        await history.changes(workspace.store, head, snapshot.tree)
        made = await workspace.tree.build_candidate(
            snapshot,
            parent=head,
            message=f"round {round_}\n",
            overlay={"HANDOFF.md": f"round {round_}\n".encode()},
            ref=f"refs/ktrdr/candidates/b/1/{round_}",
            base=base,
        )
    with timed(steps, "archive and git directory of the gate"):
        await container_git.write_gate_archive(
            workspace.store, made.commit, scratch / "gate.tar", uid=0, gid=0
        )
        await container_git.make_gate_git_dir(
            workspace.store, scratch / "gate.git", commit=made.commit, branch=BRANCH
        )
    with timed(steps, "delivery"):
        await workspace.tree.land(made.commit, branch=BRANCH, expected=head)
    shutil.rmtree(scratch)


async def measure(area: Path, files: int, rounds: int) -> Steps:
    for name in ("plain", "ours"):
        (area / name).mkdir()
        await make_repository(area / name, files)
    steps: Steps = {}
    workspace = await Workspace.open(
        area / "ours", repositories=area / "state", environ=os.environ, clock=SystemClock()
    )
    base = (await workspace.user.head()).commit
    await workspace.user.pin_base("b", base)
    for round_ in range(rounds):
        await plain(steps, area / "plain", round_)
        await task(steps, workspace, area, base, round_)
    return steps


def show(files: int, steps: Steps) -> None:
    medians = {name: statistics.median(times) for name, times in steps.items()}
    floor = medians[PLAIN]
    medians["added per task"] = sum(seconds for name, seconds in medians.items() if name != PLAIN)
    print(f"\n{files} files")
    for name, seconds in medians.items():
        print(f"  {name:42} {seconds * 1000:8.1f} ms  {seconds / floor:6.1f} x plain")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    for files in SIZES:
        with tempfile.TemporaryDirectory(prefix="ktrdr-benchmark-") as area:
            show(files, asyncio.run(measure(Path(area), files, rounds)))


if __name__ == "__main__":
    main()
