"""`logs`: what the agent printed, or everything a gate printed."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from orchestrator.cli.visible import visible
from orchestrator.engine.run_records import opened_records
from orchestrator.errors import UsageError
from orchestrator.run.state import RunState


class _Transcript(NamedTuple):
    task: str
    attempt: int
    folder: Path


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("logs", help="what the agent printed, or a gate's whole output")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--task", metavar="ID")
    parser.add_argument("--attempt", metavar="N", type=int)
    parser.add_argument("--raw", action="store_true", help="the stored bytes of stdout, of one attempt")
    parser.add_argument("--evidence", metavar="ID", help="a gate's whole output")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(handler=logs)


def logs(arguments: argparse.Namespace) -> int:
    with opened_records(os.environ) as runs:
        state = runs.named(arguments.run)
        folder = runs.folder(state.run).root
    if arguments.evidence is not None:
        return _evidence(folder, arguments.evidence)
    transcripts = list(_transcripts(state, folder, arguments.task, arguments.attempt))
    if arguments.raw:
        return _raw(transcripts)
    for transcript in transcripts:
        _print(state.run, transcript, as_json=arguments.json)
    return 0


def _transcripts(
    state: RunState, folder: Path, task: str | None, attempt: int | None
) -> Iterator[_Transcript]:
    if task is not None and task not in state.tasks:
        raise UsageError(f"run {state.run} has no task {task}", hint=f"It has: {', '.join(state.tasks)}")
    for task_id, found in state.tasks.items():
        for each in found.attempts:
            if task in (None, task_id) and attempt in (None, each.number):
                yield _Transcript(task_id, each.number, folder / each.start.folder / "transcript")


def _evidence(folder: Path, wanted: str) -> int:
    known = sorted(path.name for path in (folder / "evidence").glob("*"))
    if wanted not in known:
        raise UsageError(f"there is no evidence {wanted}", hint=f"There is: {', '.join(known) or 'none'}")
    print(visible((folder / "evidence" / wanted / "output").read_text("utf-8", "replace")), end="")
    return 0


def _raw(transcripts: list[_Transcript]) -> int:
    if len(transcripts) != 1:
        raise UsageError(
            f"--raw is for one attempt, and {len(transcripts)} fit", hint="Add --task ID and --attempt N."
        )
    path = transcripts[0].folder / "stdout"
    if path.exists():
        sys.stdout.flush()
        with path.open("rb") as source:
            shutil.copyfileobj(source, sys.stdout.buffer)
    return 0


def _print(run: str, transcript: _Transcript, *, as_json: bool) -> None:
    for stream in ("stdout", "stderr"):
        path = transcript.folder / stream
        if not path.exists():
            continue
        with path.open("r", encoding="utf-8", errors="replace", newline="\n") as lines:
            for line in lines:
                _print_line(run, transcript, stream, line.rstrip("\n"), as_json=as_json)


def _print_line(run: str, transcript: _Transcript, stream: str, line: str, *, as_json: bool) -> None:
    if not as_json:
        mark = "!" if stream == "stderr" else " "
        print(f"{transcript.task}/{transcript.attempt}{mark} {visible(line)}")
        return
    import msgspec

    entry = {
        "schema": 1,
        "run": run,
        "task": transcript.task,
        "attempt": transcript.attempt,
        "stream": stream,
        "text": line,
    }
    print(msgspec.json.encode(entry).decode())
