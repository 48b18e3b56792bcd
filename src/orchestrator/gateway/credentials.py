"""The sources of the credential for the model: which one the user has, and how it is read.

A credential is read when a run starts or is resumed, and again when the provider refuses it. It is never on a
command line, in a log or in an error. The output of a failed `credentials.command` is shown to the user, and
such programs like to print the key that they have just fetched: so everything in it that could be a key is
masked.
"""

import os
import re
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, assert_never

from orchestrator import subprocesses
from orchestrator.agents.base import CredentialKind
from orchestrator.config.settings import Credentials
from orchestrator.errors import EnvironmentInvalid
from orchestrator.files import NotRegular, open_regular
from orchestrator.gateway.access import VARIABLES, Credential
from orchestrator.text import one_line, plain

FILE_VARIABLES: Mapping[CredentialKind, str] = {
    kind: f"{variable}_FILE" for kind, variable in VARIABLES.items()
}
"""The variables that name a file with each kind."""
COMMAND_SECONDS = 30.0
MOST_BYTES = 65_536
"""The most that is read of a file, or of what a command prints."""
KEYRING = "keyring:"
TOKEN_PREFIX = "sk-ant-oat"  # noqa: S105 - what every such token begins with
"""How a subscriber's long-lived token begins. A command and a keyring do not say what they give."""
ERROR_LINES = 4
_NO_KEYRING = 3
_READ_KEYRING = f"""
import getpass, sys
try:
    import keyring
except ModuleNotFoundError:
    sys.exit({_NO_KEYRING})
service = sys.stdin.read()
found = keyring.get_password(service, getpass.getuser())
if found is None:
    entry = keyring.get_credential(service, None)
    found = "" if entry is None else entry.password
sys.stdout.write(found)
"""
"""Runs in a process of its own: a keyring that waits for a dialog can be ended there."""
# What could be a key: its usual beginning, or a long word of letters and digits.
_SECRET = re.compile(r"sk-[\w-]+|(?=[\w+=-]*\d)(?=[\w+=-]*[A-Za-z])[\w+=-]{20,}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialSource:
    """Its `repr` does not show the value."""

    name: str
    """The variable or setting that names it."""
    origin: Literal["variable", "file", "command", "keyring"]
    kind: CredentialKind | None
    """None where only its value can say."""
    value: str = field(default="", repr=False)
    """Of a variable: the credential, a path, or the name of a keyring's service."""


async def find_credential(
    settings: Credentials, environ: Mapping[str, str], kinds: tuple[CredentialKind, ...]
) -> Credential | None:
    """The credential of the one source that the caller has for these kinds; None without a source.

    Raises EnvironmentInvalid when there are several sources, or when the source gives nothing usable.
    """
    sources = list_sources(settings, environ, kinds)
    if len(sources) > 1:
        raise _ambiguity_error(sources)
    return None if not sources else await _ask(sources[0], settings, kinds)


def list_sources(
    settings: Credentials, environ: Mapping[str, str], kinds: Iterable[CredentialKind]
) -> list[CredentialSource]:
    """Every source of one of these kinds, or of `credentials.use`; a blank variable counts as not set."""
    wanted = tuple(kind for kind in kinds if settings.use in (None, kind))
    found = []
    for kind in wanted:
        if value := environ.get(VARIABLES[kind], "").strip():
            found.append(CredentialSource(name=VARIABLES[kind], origin="variable", kind=kind, value=value))
        if path := environ.get(FILE_VARIABLES[kind], "").strip():
            found.append(CredentialSource(name=FILE_VARIABLES[kind], origin="file", kind=kind, value=path))
    if wanted and settings.command:
        found.append(CredentialSource(name="credentials.command", origin="command", kind=settings.use))
    if wanted and settings.source is not None:
        service = settings.source.removeprefix(KEYRING)
        found.append(
            CredentialSource(name="credentials.source", origin="keyring", kind=settings.use, value=service)
        )
    return found


def _ambiguity_error(sources: list[CredentialSource]) -> EnvironmentInvalid:
    names = ", ".join(source.name for source in sources)
    hint = "Remove all but one."
    if len({source.kind for source in sources}) > 1:
        hint = "Choose one with -c credentials.use=api_key or -c credentials.use=oauth_token, or remove one."
    return EnvironmentInvalid(f"more than one credential is set: {names}", where="credentials.use", hint=hint)


async def _ask(
    source: CredentialSource, settings: Credentials, kinds: tuple[CredentialKind, ...]
) -> Credential:
    match source.origin:
        case "variable":
            value = source.value
        case "file":
            value = _read_key_file(source)
        case "command":
            value = await _run_command(source, settings.command)
        case "keyring":
            value = await _read_keyring(source)
        case _ as never:
            assert_never(never)
    kind = source.kind or ("oauth_token" if value.startswith(TOKEN_PREFIX) else "api_key")
    if kind not in kinds:
        raise EnvironmentInvalid(
            f"the agent cannot use a credential of the kind {kind}",
            where=source.name,
            hint=f"Use a credential of the kind {' or '.join(kinds)}.",
        )
    try:
        return Credential(kind=kind, value=value, source=source.name)
    except ValueError as error:
        raise EnvironmentInvalid(
            f"the value cannot be used: {error}",
            where=source.name,
            hint="Use the value that the provider shows, without quotes or line breaks.",
        ) from None


def _read_key_file(source: CredentialSource) -> str:
    """The first line of a file that only its owner can read. A link is followed: the user chose the path."""
    where = f"{source.name}: {one_line(source.value, 200)}"
    again = f"Set {source.name} to a file that holds only the credential."
    try:
        with open_regular(Path(source.value), follow=True) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise EnvironmentInvalid(
                    f"other users may open the file (mode {mode:04o})",
                    where=where,
                    hint="Make it private: chmod 600 FILE",
                )
            content = file.read(MOST_BYTES)
    except NotRegular:
        raise EnvironmentInvalid("not a regular file", where=where, hint=again) from None
    except OSError as error:
        raise EnvironmentInvalid(f"cannot be read: {error.strerror}", where=where, hint=again) from None
    return _first_line(content) or _refuse_empty("the file is empty", where, again)


async def _run_command(source: CredentialSource, command: tuple[str, ...]) -> str:
    again = "Run the command by hand: it has to print the credential as its first line."
    try:
        done = await subprocesses.run_bounded(command, timeout=COMMAND_SECONDS, limit=MOST_BYTES)
    except subprocesses.ProcessTimeout:
        raise EnvironmentInvalid(
            f"the command took longer than {COMMAND_SECONDS:g} s", where=source.name, hint=again
        ) from None
    except OSError as error:
        raise EnvironmentInvalid(
            f"the command cannot be started: {error.strerror}", where=source.name, hint=again
        ) from None
    if done.exit_code != 0:
        raise EnvironmentInvalid(
            f"the command failed (exit code {done.exit_code}){_quote(done)}", where=source.name, hint=again
        )
    return _first_line(done.stdout) or _refuse_empty("the command printed nothing", source.name, again)


async def _read_keyring(source: CredentialSource) -> str:
    store = f"Store it: keyring set {one_line(source.value, 100)} YOUR-USER-NAME"
    try:
        done = await subprocesses.run_bounded(
            [sys.executable, "-P", "-c", _READ_KEYRING],
            timeout=COMMAND_SECONDS,
            limit=MOST_BYTES,
            stdin=source.value.encode(),
        )
    except subprocesses.ProcessTimeout:
        raise EnvironmentInvalid(
            f"the keyring took longer than {COMMAND_SECONDS:g} s",
            where=source.name,
            hint="Unlock the keyring first, or use credentials.command.",
        ) from None
    if done.exit_code == _NO_KEYRING:
        raise EnvironmentInvalid(
            "the Python package keyring is not installed",
            where=source.name,
            hint="Install it beside the orchestrator: pip install keyring; or use credentials.command.",
        )
    if done.exit_code != 0:
        raise EnvironmentInvalid(f"the keyring failed{_quote(done)}", where=source.name, hint=store)
    nothing = f"the keyring has no entry for the service {one_line(source.value, 100)}"
    return _first_line(done.stdout) or _refuse_empty(nothing, source.name, store)


def _first_line(content: bytes) -> str:
    """Without white space. Other bytes than UTF-8 become a character that a credential cannot have."""
    return content.decode("utf-8", "replace").strip().partition("\n")[0].strip()


def _refuse_empty(what: str, where: str, hint: str) -> str:
    raise EnvironmentInvalid(what, where=where, hint=hint)


def _quote(done: subprocesses.Completed) -> str:
    """The last lines of a command's errors, without anything that could be a key."""
    text = plain(done.stderr.decode("utf-8", "replace"))
    for word in done.stdout.decode("utf-8", "replace").split():
        if len(word) >= 8:
            text = text.replace(word, "***")
    text = _SECRET.sub("***", text)
    lines = [one_line(line, 160) for line in text.splitlines() if line.strip()]
    return "".join(f"\n  {line}" for line in lines[-ERROR_LINES:])
