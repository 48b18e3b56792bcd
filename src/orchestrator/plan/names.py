"""The name of a plan's branch, run and hand-off document, made from the plan's path."""

import re

from orchestrator.plan.refnames import branch_problem

_GENERIC_STEMS = frozenset(("tasks", "plan", "todo", "spec", "requirements", "readme"))
_GENERIC_FOLDERS = frozenset(("", ".", "docs", "doc", "plans", "specs"))
_NOT_IN_A_NAME = re.compile(r"[\x00-\x20\x7f~^:?*\[\\/]+|@\{|\.{2,}")
_LONGEST_BYTES = 120


def plan_name(path: str) -> str:
    """The name that distinguishes a plan from others: its file's stem, or its folder's name.

    Tools call every plan `tasks.md` and put it into a folder of its own; then the folder has the name, unless
    that is generic as well. `path` is relative to the repository. The name is valid in a branch and a file.
    """
    folder, _, file = path.rpartition("/")
    stem = file.rpartition(".")[0] or file
    parent = folder.rpartition("/")[2]
    if stem.lower() in _GENERIC_STEMS and parent.lower() not in _GENERIC_FOLDERS:
        stem = parent
    # Git refuses some characters and endings in the name of a branch.
    name = _NOT_IN_A_NAME.sub("-", stem).encode("utf-8", "replace")[:_LONGEST_BYTES].decode("utf-8", "ignore")
    name = re.sub(r"(?:\.lock)+$", "", name.strip("-."), flags=re.IGNORECASE).strip("-.")
    return name if name and branch_problem(f"milestone/{name}") is None else "plan"
