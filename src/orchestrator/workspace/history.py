"""Questions about commits and trees, asked in our repository, which borrows the user's objects.

No file of the code folder decides an answer, except that attributes say which changes are counted as binary.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from orchestrator.errors import WorkspaceError
from orchestrator.run.handoff import ChangedFile
from orchestrator.workspace.git import TREE_SECONDS
from orchestrator.workspace.store import Store

_STATUS = {"A": "added", "M": "modified", "D": "deleted", "T": "type changed"}


async def tree_of(store: Store, commit: str) -> str:
    known = store.known.trees.get(commit)
    if known is not None:
        return known
    tree = await store.git.text("rev-parse", "--verify", f"{commit}^{{tree}}")
    store.known.remember_tree(commit, tree)
    return tree


async def parent_of(store: Store, commit: str) -> str:
    """The commit's first parent."""
    return await store.git.text("rev-parse", "--verify", f"{commit}^1")


async def filter_existing(store: Store, commits: frozenset[str]) -> frozenset[str]:
    """Those of these commits that exist, by one call of git."""
    if not commits:
        return commits
    asked = "".join(f"{commit}^{{commit}}\n" for commit in sorted(commits))
    answer = await store.git.text("cat-file", "--batch-check=%(objectname)", stdin=asked.encode())
    return commits.intersection(answer.split("\n"))


async def ancestors(store: Store, commits: frozenset[str], *, of: str) -> frozenset[str]:
    """Those of these commits that are `of` or ancestors of it, by two calls of git, however many they are.

    `rev-list COMMITS ^OF` lists what the commits have and `of` has not: a commit that is not listed is an
    ancestor of `of`.
    """
    known = await filter_existing(store, commits)
    if not known:
        return known
    asked = "".join([f"^{of}\n", *(f"{commit}\n" for commit in sorted(known))])
    others = await store.git.text("rev-list", "--stdin", stdin=asked.encode(), timeout=TREE_SECONDS)
    return known.difference(others.split("\n"))


async def is_ancestor(store: Store, commit: str, of: str) -> bool:
    """Whether `commit` is `of` or an ancestor of it. False also when one of them no longer exists."""
    return (await store.git.try_run("merge-base", "--is-ancestor", commit, of)).exit_code == 0


async def commits_between(store: Store, base: str, tip: str) -> tuple[str, ...]:
    """Commits that `tip` has and `base` has not, newest first."""
    return tuple((await store.git.text("rev-list", tip, f"^{base}", "--")).split())


async def files(store: Store, commit: str) -> Mapping[str, str]:
    """Every path that a commit tracks, with its blob."""
    known = store.known.files.get(commit)
    if known is not None:
        return known
    listing = await store.git.run("ls-tree", "-r", "-z", "--full-tree", commit, timeout=TREE_SECONDS)
    entries = [entry.split("\t", 1) for entry in os.fsdecode(listing).split("\0") if entry]
    found = {path: about.split(" ")[2] for about, path in entries}
    store.known.remember_files(commit, found)
    return found


async def changes(store: Store, old: str, new: str) -> tuple[ChangedFile, ...]:
    """How two commits or trees differ, by path. A rename is a deletion and an addition."""
    plain = ("-r", "-z", "--no-renames", "--no-ext-diff", "--no-textconv")
    listing = await store.git.run("diff-tree", *plain, "--raw", "--numstat", old, new, timeout=TREE_SECONDS)
    # First a pair of fields for each path, `:MODES IDS STATUS` and the path; then a row of counts for each.
    fields = os.fsdecode(listing).split("\0")
    status = {}
    at = 0
    while fields[at].startswith(":"):
        status[fields[at + 1]] = fields[at][-1]
        at += 2
    rows = [row.split("\t", 2) for row in fields[at:] if row]
    return tuple(
        ChangedFile(path=path, status=_STATUS[status[path]], added=_lines(added), deleted=_lines(deleted))
        for added, deleted, path in rows
    )


async def message_of(store: Store, commit: str) -> str:
    return await store.git.text("log", "-1", "--format=%B", commit, "--")


async def renames(store: Store, old: str, new: str) -> Mapping[str, str]:
    """The new name and the old one of each file that was renamed, also if it was edited a little as well.

    Empty files are not compared: all of them have the same content.
    """
    how = ("-r", "-z", "--raw", "--find-renames", "--no-rename-empty", "--diff-filter=R", "--no-ext-diff")
    listing = await store.git.run("diff-tree", *how, old, new, timeout=TREE_SECONDS)
    fields = os.fsdecode(listing).split("\0")
    return dict(zip(fields[2::3], fields[1::3], strict=False))


async def read_blob(store: Store, commit: str, path: str, limit: int) -> bytes | None:
    """A regular file of a commit; None when the commit has none there. WorkspaceError over `limit` bytes."""
    literal = replace(store.git, env={**store.git.env, "GIT_LITERAL_PATHSPECS": "1"})
    entry = await literal.run("ls-tree", "-z", "-l", "--full-tree", commit, "--", path)
    fields = entry.split(maxsplit=4)
    if len(fields) < 4 or not fields[0].startswith(b"100"):
        return None
    if int(fields[3]) > limit:
        raise WorkspaceError(f"is larger than {limit} bytes", where=path)
    return await store.git.run("cat-file", "blob", os.fsdecode(fields[2]))


async def read_diff(store: Store, old: str, new: str, limit: int) -> str:
    """The changes between two commits as text; above `limit` bytes its beginning, and a line that says so."""
    diff = await store.git.run(
        *("diff-tree", "-r", "-p", "--no-ext-diff", "--no-textconv", "--no-color", old, new),
        timeout=TREE_SECONDS,
    )
    text = diff[:limit].decode("utf-8", "replace")
    return text if len(diff) <= limit else f"{text}\n[{len(diff) - limit} more bytes are left out]\n"


async def blob_of(store: Store, commit: str, path: str) -> str | None:
    """The id of the content that a commit has under this path; None when it has nothing there."""
    done = await store.git.try_run("rev-parse", "--verify", "--quiet", f"{commit}:{path}")
    return os.fsdecode(done.stdout).strip() if done.exit_code == 0 else None


async def hash_of(store: Store, content: bytes) -> str:
    """The id that git gives to this content; nothing is stored."""
    return await store.git.text("hash-object", "--no-filters", "--stdin", stdin=content)


class Change(NamedTuple):
    commit: str
    message: str


async def last_change(store: Store, *, tip: str, base: str, path: str) -> Change | None:
    """The newest commit of `tip` that `base` has not and that changed the path; None when there is none."""
    literal = replace(store.git, env={**store.git.env, "GIT_LITERAL_PATHSPECS": "1"})
    listing = await literal.run(
        "log", "-1", "--format=%H%n%B", tip, f"^{base}", "--", path, timeout=TREE_SECONDS
    )
    commit, _, message = os.fsdecode(listing).partition("\n")
    return Change(commit, message) if commit else None


def names_run(message: str) -> bool:
    """Whether a commit's message says that a run made the commit."""
    return "\nOrchestrator-Run: " in message


async def changes_of_path(store: Store, *, tip: str, path: str) -> list[Change]:
    """The last thousand commits of `tip` that changed the path, newest first."""
    literal = replace(store.git, env={**store.git.env, "GIT_LITERAL_PATHSPECS": "1"})
    command = ("log", "-z", "-1000", "--format=%H%n%B", tip, "--", path)
    listing = os.fsdecode(await literal.run(*command, timeout=TREE_SECONDS))
    parts = [entry.partition("\n") for entry in listing.split("\0") if entry]
    return [Change(commit, message) for commit, _, message in parts]


async def list_landed_tasks(store: Store, *, tip: str) -> frozenset[tuple[str, str]]:
    """Run and task of each commit of `tip` that a run has landed, from the trailers."""
    command = ("log", "-z", "--format=%B", "--grep=^Orchestrator-Task: ", tip, "--")
    listing = os.fsdecode(await store.git.run(*command, timeout=TREE_SECONDS))
    found = set()
    for message in listing.split("\0"):
        run = ""
        for line in message.splitlines():
            key, _, value = line.partition(": ")
            if key == "Orchestrator-Run":
                run = value
            elif key == "Orchestrator-Task":
                found.add((run, value))
    return frozenset(found)


async def find_landed(
    store: Store, *, tip: str, base: str, run: str, besides: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Commits of a run that `tip` has and `base` has not, by task id, from their trailers; without `besides`.

    A commit that the user has rewritten or squashed counts too, as long as its message keeps the trailers.
    """
    listing = await store.git.run("log", "-z", "--format=%H%n%B", tip, f"^{base}", "--")
    found = {}
    for entry in os.fsdecode(listing).split("\0"):
        commit, _, message = entry.partition("\n")
        if commit not in besides:
            found.update(dict.fromkeys(_tasks_named(message, run), commit))
    return found


def _tasks_named(message: str, run: str) -> Iterator[str]:
    """Tasks of a run in a commit's message: each `Orchestrator-Task` belongs to the run named before it."""
    owner = None
    for line in message.splitlines():
        key, _, value = line.partition(": ")
        if key == "Orchestrator-Run":
            owner = value
        elif key == "Orchestrator-Task" and owner == run:
            yield value


def _lines(count: str) -> int | None:
    return None if count == "-" else int(count)
