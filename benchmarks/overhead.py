"""The cost of a run without its containers: a plan of trivial tasks against a bare shell loop.

The loop does by hand what a run does for each task: `docker run` of the agent over the folder, a second
container with the files of the commit for the verify command, `git commit`. A run also checks each verify
command on the base before any work, and looks the agent's program up, in containers of their own; so the
ratio is given as a whole and for each container that the engine reports as made.
Run: python benchmarks/overhead.py [TASKS] [ROUNDS]
"""

import os
import statistics
import subprocess  # noqa: TID251 - both sides are started as the user's shell does
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orchestrator
from orchestrator.containers.base import LABEL_STATE
from orchestrator.state_folder import open_state_folder

IMAGE = "ktrdr-coding-agent:latest"
SOURCE = str(Path(orchestrator.__file__).parents[1])
AGENT = """\
echo done > "$ORCHESTRATOR_TASK.txt"
printf '{"status": "completed", "summary": "Done."}' > "$ORCHESTRATOR_OUTCOME"
"""
LOOP = r"""
set -eu
for task in $(seq 1 "$TASKS"); do
    docker run --rm --init --label "$LABEL" -u "$(id -u):$(id -g)" -v "$PWD:/workspace" -w /workspace \
        -e "ORCHESTRATOR_TASK=$task" -e ORCHESTRATOR_OUTCOME=/tmp/outcome "$IMAGE" bash agent.sh
    git add -A
    git commit -q -m "Task $task"
    gate=$(docker create --init --label "$LABEL" -u "$(id -u):$(id -g)" -w /workspace "$IMAGE")
    git archive --prefix=workspace/ HEAD | docker cp -q - "$gate:/" 2>/dev/null \
        || git archive --prefix=workspace/ HEAD | docker cp - "$gate:/"
    docker start "$gate" > /dev/null
    docker exec "$gate" bash -eo pipefail -c "test -s $task.txt"
    docker rm -f "$gate" > /dev/null
done
"""


class Sample(NamedTuple):
    seconds: float
    containers: int

    @property
    def each(self) -> float:
        return self.seconds / self.containers


def shell(*argv: str, cwd: Path, **extra: str) -> None:
    done = subprocess.run(argv, cwd=cwd, env={**os.environ, **extra}, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{argv[0]} failed with {done.returncode}:\n{done.stdout.decode()}{done.stderr.decode()}")


def plan(tasks: int) -> str:
    parts = ["# Milestone 1: A benchmark\n"]
    for number in range(1, tasks + 1):
        parts.append(f"## Task {number}: Write {number}.txt\n\n**Type:** CODING\n\n**Verify:**\n")
        parts.append(f"```bash\ntest -s {number}.txt\n```\n")
    return "\n".join(parts)


def repository(folder: Path, tasks: int) -> Path:
    folder.mkdir()
    (folder / "plan.md").write_text(plan(tasks))
    (folder / "agent.sh").write_text(AGENT)
    shell("git", "init", "-q", cwd=folder)
    for name, value in (("user.name", "Ada"), ("user.email", "ada@example.org")):
        shell("git", "config", name, value, cwd=folder)
    shell("git", "add", "-A", cwd=folder)
    shell("git", "commit", "-q", "-m", "start", cwd=folder)
    return folder


def run_loop(folder: Path, tasks: int, label: str) -> None:
    shell("bash", "-c", LOOP, cwd=folder, TASKS=str(tasks), LABEL=label, IMAGE=IMAGE)


def run_orchestrator(folder: Path, tasks: int, label: str) -> None:
    words = ("run", "plan.md", "--no-input", "--agent-command", "bash agent.sh")
    argv = (sys.executable, "-m", "orchestrator.cli.main", *words)
    shell(*argv, cwd=folder, XDG_STATE_HOME=str(folder.parent / "state"), PYTHONPATH=SOURCE)


def measure(side: Callable[[Path, int, str], None], area: Path, tasks: int) -> Sample:
    folder = repository(area / "code", tasks)
    state = open_state_folder({"XDG_STATE_HOME": str(area / "state")})
    label = f"{LABEL_STATE}={state.id}"
    with counting(label) as made:
        begun = time.perf_counter()
        side(folder, tasks, label)
        seconds = time.perf_counter() - begun
    return Sample(seconds, len(made))


@contextmanager
def counting(label: str) -> Iterator[list[str]]:
    """Containers made meanwhile, by the engine's own account; complete after the end."""
    made: list[str] = []
    argv = ["docker", "events", "--since", str(int(time.time())), "--filter", f"label={label}"]
    events = subprocess.Popen([*argv, "--filter", "event=create"], stdout=subprocess.PIPE, text=True)
    try:
        yield made
        time.sleep(1)  # the last events are on their way
    finally:
        events.terminate()
        said, _ = events.communicate()
        made += said.splitlines()


def main() -> None:
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    samples: dict[str, list[Sample]] = {"shell loop": [], "orchestrator": []}
    sides = {"shell loop": run_loop, "orchestrator": run_orchestrator}
    for _ in range(rounds):
        for name, side in sides.items():
            with tempfile.TemporaryDirectory(prefix="overhead-") as area:
                samples[name].append(measure(side, Path(area), tasks))
    print(f"{tasks} tasks, median of {rounds} rounds")
    floor = middle(samples["shell loop"])
    for name, values in samples.items():
        found = middle(values)
        whole = f"{found.seconds:.1f} s = {found.seconds / floor.seconds:.2f} x"
        each = f"{found.each:.2f} s a container = {found.each / floor.each:.2f} x"
        print(f"{name}: {found.containers} containers, {whole}; {each}; {found.seconds / tasks:.2f} s a task")


def middle(samples: list[Sample]) -> Sample:
    return Sample(statistics.median(s.seconds for s in samples), samples[0].containers)


if __name__ == "__main__":
    main()
