"""The user's branches and tags, by their full names.

A short name can mean a branch and a tag; a full name has one meaning.
"""

import os

from orchestrator.errors import WorkspaceError
from orchestrator.workspace.git import Git
from orchestrator.workspace.store import Store, is_object_id

BRANCHES = "refs/heads"
TAGS = "refs/tags"


async def list_ref_names(git: Git, *folders: str) -> tuple[str, ...]:
    """Full names of the refs below these folders, such as `refs/heads/`; also of refs that point to nothing.

    An agent has worked in the folder, and the user's configuration may include a file of it. Only three
    commands may therefore run in the user's repository (see `user_repository`). `for-each-ref` is not one of
    them, so `rev-parse` lists the refs. Its option `--symbolic` gives every name; `--symbolic-full-name`
    would leave out a branch and a tag of the same short name.
    """
    listing = await git.run("rev-parse", "--symbolic", *(f"--glob={folder}" for folder in folders))
    return tuple(line for line in os.fsdecode(listing).split("\n") if line)


async def _list_names_and_ids(git: Git) -> tuple[list[str], list[str]]:
    """Branches and tags, and the id of each, by one call: `--symbolic` counts for what comes after it."""
    folders = (f"--glob={BRANCHES}", f"--glob={TAGS}")
    listing = (await git.text("rev-parse", *folders, "--symbolic", *folders)).split("\n")
    ids = [line for line in listing if is_object_id(line)]
    return listing[len(ids) :], ids


async def list_branches_and_tags(store: Store) -> dict[str, str]:
    """The user's branches and tags, each with the id of its object.

    Raises WorkspaceError, with the name, when one of them points to an object that does not exist: git would
    refuse to copy this repository, and print an id only.
    """
    git = store.layout.users_git
    names, ids = await _list_names_and_ids(git)
    if len(ids) != len(names):
        raise WorkspaceError(
            "branches or tags changed while they were read",
            where=str(store.layout.folder),
            hint="Run the command again.",
        )
    refs = dict(zip(names, ids, strict=True))
    asked = "".join(f"{object_id}\n" for object_id in ids)
    answer = await store.git.text("cat-file", "--batch-check", stdin=asked.encode())
    missing = {line.partition(" ")[0] for line in answer.splitlines() if line.endswith(" missing")}
    for name, object_id in refs.items():
        if object_id in missing:
            raise WorkspaceError(
                f"{name} points to {object_id}, an object that does not exist",
                where=str(store.layout.git_dir),
                hint=f"Get the object back (git fetch), or remove the ref: git update-ref -d {name}",
            )
    return refs
