"""Find changes of a commit that may not land without the user's word: credentials and settings of tools.

A credential that has been pushed has to be replaced, and no later commit takes it out of the history.
Settings such as `.claude/settings.json` or `.vscode/tasks.json` are read by programs on the user's host. An
agent that writes them would leave its container as soon as the user opens the folder.

Names and contents are compared with what such files usually look like. So this protects from accidents and
from simple attacks; an agent that encodes a secret is not found out.

The files are read from the commit, in our repository, because exactly the commit lands.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from orchestrator.workspace.git import TREE_SECONDS
from orchestrator.workspace.store import Store

HeldKind = Literal["credential", "settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPath:
    path: str
    kind: HeldKind


_CREDENTIAL_NAMES = re.compile(
    r"""
    \.env([._-].+)?
    | (local|dev|development|prod|production|staging|secrets?|credentials)\.env
    | id_(rsa|dsa|ecdsa|ed25519)(_sk)?
    | \.netrc | _netrc | \.pgpass | \.pypirc | \.git-credentials | \.dockercfg | \.vault-token
    | application_default_credentials\.json
    | .+\.(p12|pfx|ppk|kdbx|jks|keystore)
    """,
    re.VERBOSE,
)
_CREDENTIAL_PATHS = (".aws/credentials", ".docker/config.json", ".kube/config")
_EXAMPLE = re.compile(r"[._-](example|sample|template|tmpl|tpl|dist|defaults?|schema)\b")
"""A file of this name shows which variables there are, without their values."""

# POSIX expressions for `git diff-tree -G`, which matches one line at a time. The header of a key has to end
# its line, or to be followed by the key: a program that only looks for the header has a quote there.
_PRIVATE_KEYS = (
    r"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----([[:space:]]*$|(\\[rn])+[A-Za-z0-9+/=]{16})",
    r"^PuTTY-User-Key-File-[0-9]",
    r"AGE-SECRET-KEY-1[A-Z0-9]{50}",
)
_TOKENS = (
    r"gh[pousr]_[A-Za-z0-9]{36}",
    r"github_pat_[A-Za-z0-9_]{50}",
    r"glpat-[A-Za-z0-9_-]{20}",
    r"sk-ant-[A-Za-z0-9_-]{20}",
    r"sk-(proj|svcacct|admin)-[A-Za-z0-9_-]{40}",
    r"sk-[A-Za-z0-9]{48}",
    r"(AKIA|ASIA)[A-Z2-7]{16}($|[^A-Za-z0-9_])",
    r"AIza[A-Za-z0-9_-]{35}",
    r"xox[abeoprs]-[A-Za-z0-9-]{20}",
    r"[rs]k_live_[A-Za-z0-9]{20}",
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-AgE[A-Za-z0-9_-]{50}",
    r"hf_[A-Za-z]{34}",
    r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
    r"dop_v1_[a-f0-9]{64}",
)
_LOGIN_OF_NPM = r"_authToken[[:space:]]*=[[:space:]]*[\"']?[A-Za-z0-9]"
_CREDENTIAL_CONTENT = "|".join((*_PRIVATE_KEYS, f"(^|[^A-Za-z0-9_])({'|'.join(_TOKENS)})", _LOGIN_OF_NPM))

_SETTINGS = re.compile(
    r"""
    \.claude/settings.*\.json
    | \.vscode/(tasks|settings)\.json
    | \.zed/(tasks|settings)\.json
    | \.cursor/(cli|hooks)\.json
    | \.(gemini|qwen)/settings\.json
    | \.codex/config\.toml
    | \.[^/]+/mcp\.json
    | ([^/]+/)?(\.mcp\.json|opencode\.jsonc?|.+\.code-workspace)
    """,
    re.VERBOSE,
)
"""The end of a path in lower case: the name, after its folder if there is one."""
_SETTINGS_FOLDERS = frozenset((".claude", ".vscode", ".zed", ".cursor", ".gemini", ".qwen", ".codex"))


class _Changed(NamedTuple):
    path: str
    status: str
    is_link: bool


async def find_held_paths(
    store: Store, parent: str, commit: str, *, hooks: str | None
) -> tuple[HeldPath, ...]:
    """Changes of `commit` that the user has to allow, sorted by path.

    Credentials are looked for in new files only, settings in every file that was added or changed. `hooks` is
    the folder of the user's git hooks, where it is in the code folder.
    """
    held: dict[str, HeldKind] = {}
    for changed in await _list_changed(store, parent, commit):
        if is_tool_setting(changed.path, hooks=hooks, is_link=changed.is_link):
            held[changed.path] = "settings"
        elif changed.status == "A" and is_credential_name(changed.path):
            held[changed.path] = "credential"
    found = await _list_with_credentials(store, parent, commit)
    held |= dict.fromkeys(found, "credential")
    return tuple(HeldPath(path=path, kind=kind) for path, kind in sorted(held.items()))


def is_credential_name(path: str) -> bool:
    """Whether files of this name usually hold a secret."""
    name = PurePosixPath(path.lower()).name
    if f"/{path.lower()}".endswith(tuple(f"/{each}" for each in _CREDENTIAL_PATHS)):
        return True
    return _CREDENTIAL_NAMES.fullmatch(name) is not None and _EXAMPLE.search(name) is None


def is_tool_setting(path: str, *, hooks: str | None = None, is_link: bool = False) -> bool:
    """Whether programs on the host read this file and do what it says.

    A link counts by its name too, and where it takes the place of a folder of such files.
    """
    lower = path.lower()
    if _SETTINGS.fullmatch("/".join(lower.split("/")[-2:])) is not None:
        return True
    if is_link and PurePosixPath(lower).name in _SETTINGS_FOLDERS:
        return True
    if hooks is None:
        return False
    return is_at_or_below(lower, hooks.lower()) or (is_link and is_at_or_below(hooks.lower(), lower))


def is_at_or_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


async def _list_changed(store: Store, parent: str, commit: str) -> Iterator[_Changed]:
    """The files that were added or changed. A rename is an addition."""
    how = ("-r", "-z", "--raw", "--no-renames", "--no-ext-diff", "--diff-filter=AMT")
    listing = await store.git.run("diff-tree", *how, parent, commit, timeout=TREE_SECONDS)
    fields = os.fsdecode(listing).split("\0")
    rows = zip(fields[::2], fields[1::2], strict=False)
    return (
        _Changed(path=path, status=about.rpartition(" ")[2], is_link=about.split(" ")[1] == "120000")
        for about, path in rows
    )


async def _list_with_credentials(store: Store, parent: str, commit: str) -> list[str]:
    """New files with a line that looks like a secret; a file that was only moved or copied is not new."""
    how = ("-r", "-z", "--name-only", "--no-ext-diff", "--no-textconv", "--text")
    new = ("--find-copies=100%", "--find-copies-harder", "--diff-filter=A", f"-G{_CREDENTIAL_CONTENT}")
    listing = await store.git.run("diff-tree", *how, *new, parent, commit, timeout=TREE_SECONDS)
    return [path for path in os.fsdecode(listing).split("\0") if path]
