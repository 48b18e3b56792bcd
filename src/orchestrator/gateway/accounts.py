"""The known limits of each credential, which all runs of a state folder share.

There is one file for each credential. Its name is an HMAC of the credential with a key of the state folder:
it says nothing about the credential, and another state folder has another name for the same one. The gateway
writes what it sees of the provider's answers, the owner of a run what the agent says about the end of a
login. Both hold a lock while they do. Agents cannot reach the state folder.

Everything here is a hint that saves requests: a file that is missing or damaged is like an empty one, and a
file that cannot be written is logged.
"""

import asyncio
import fcntl
import hashlib
import hmac
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from orchestrator.clock import Clock
from orchestrator.files import open_own, read_regular, write_atomically
from orchestrator.gateway.access import Credential
from orchestrator.gateway.limits import (
    LONGEST_WAIT,
    ProviderAnswer,
    ProviderLimit,
    limit_of,
    windows_of,
)
from orchestrator.run.facts import LimitWindow, RunCause
from orchestrator.text import utc_text

log = logging.getLogger(__name__)

SHARED: frozenset[RunCause | None] = frozenset({"usage_limit", "rate_limit"})
"""Limits that other runs with the same credential would only meet again."""
UNKNOWN_END = timedelta(hours=1)
"""How long a limit counts whose end the provider did not say."""
OLD = timedelta(days=30)
"""Files of credentials that were not used for so long are removed."""
MOST_BYTES = 100_000
MOST_LIMITS = 20
"""An account has one limit, and perhaps one for each of a few models."""
_KEY_BYTES = 32


class KnownLimit(Struct, frozen=True, kw_only=True):
    """A limit of the account, or of one of its models."""

    cause: RunCause
    seen: str
    until: str | None = None
    status: int | None = None
    model: str | None = None
    """The model that was asked for, where the limit is that of one model."""
    chosen: str | None = None
    """The setting `agent.model` of the attempt that met it: it can be another name of the model, or none."""
    run: str = ""
    """The run that met it."""


class Account(Struct, frozen=True, kw_only=True):
    """The known limits of a credential, and its windows."""

    limits: tuple[KnownLimit, ...] = ()
    windows: tuple[LimitWindow, ...] = ()
    """How much of each window was used, when the provider said so last."""
    windows_seen: str | None = None
    expires: str | None = None
    """When the login ends, if the agent has said so."""

    def limit_in_force(self, now: datetime, chosen: str | None) -> KnownLimit | None:
        """The limit that a run with this setting of `agent.model` would meet; of several, the last to end."""
        found = [
            each
            for each in self.limits
            if _is_in_force(each, now) and (each.model is None or chosen in (each.model, each.chosen))
        ]
        return max(found, key=lambda each: end_of(each, now) or now, default=None)

    def add_limit(self, limit: KnownLimit, now: datetime) -> "Account":
        """The account with a limit that was seen now, which replaces an earlier entry for the same limit."""
        this = (limit.cause, limit.model)
        others = [each for each in self.limits if (each.cause, each.model) != this]
        kept = [each for each in others if _is_in_force(each, now)]
        return replace(self, limits=(*kept, limit)[-MOST_LIMITS:])

    def clear_limits(self, model: str | None) -> "Account":
        """The account without the limits that this successful request for a model would have met."""
        return replace(self, limits=tuple(each for each in self.limits if each.model not in (None, model)))


def end_of(limit: KnownLimit, now: datetime) -> datetime | None:
    """When the limit ends; None where that is unknown, in the past, or too far away to be true."""
    until = _parse_time(limit.until)
    return until if until is not None and now < until <= now + LONGEST_WAIT else None


def _is_in_force(limit: KnownLimit, now: datetime) -> bool:
    until, seen = _parse_time(limit.until), _parse_time(limit.seen)
    if until is not None:
        return until > now
    return seen is not None and abs(now - seen) < UNKNOWN_END


def _parse_time(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class AccountFiles:
    """The accounts of one state folder. Its methods read and write files, in the caller's thread."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "accounts"

    def read(self, credential: Credential) -> Account:
        """An account about which nothing is known is empty. Creates nothing."""
        try:
            return self._read(_name_account(credential, read_regular(self._key, limit=_KEY_BYTES)))
        except OSError:
            return Account()

    def identify(self, credential: Credential) -> str:
        """A name for the credential that says nothing about it; empty where none can be made."""
        try:
            with self._hold_lock():
                return _name_account(credential, self._read_or_make_key())
        except OSError as error:
            log.warning("accounts.unwritable folder=%s error=%s", self._folder, error.strerror)
            return ""

    def update(self, credential: Credential, change: Callable[[Account], Account]) -> None:
        """Store what `change` makes of an account. A failure is logged: the caller can do without."""
        try:
            with self._hold_lock():
                name = _name_account(credential, self._read_or_make_key())
                known = self._read(name)
                changed = change(known)
                if changed != known:
                    write_atomically(self._file(name), msgspec.json.encode(changed))
                    self._remove_old()
        except OSError as error:
            log.warning("accounts.unwritable folder=%s error=%s", self._folder, error.strerror)

    @property
    def _key(self) -> Path:
        return self._folder / "key"

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _read(self, name: str) -> Account:
        try:
            return msgspec.json.decode(read_regular(self._file(name), limit=MOST_BYTES), type=Account)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return Account()

    def _read_or_make_key(self) -> bytes:
        try:
            if len(key := read_regular(self._key, limit=_KEY_BYTES)) == _KEY_BYTES:
                return key
        except OSError:
            pass  # there is none yet, or it is not usable: nothing that was stored with it can be found
        key = os.urandom(_KEY_BYTES)
        write_atomically(self._key, key)
        return key

    @contextmanager
    def _hold_lock(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        lock = open_own(self._folder / "lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _remove_old(self) -> None:
        files = [(path, path.stat().st_mtime) for path in self._folder.glob("*.json")]
        newest = max(changed for _, changed in files)
        for path, changed in files:
            if newest - changed > OLD.total_seconds():
                path.unlink(missing_ok=True)


def _name_account(credential: Credential, key: bytes) -> str:
    # A key of another length was not made by us: with an empty one, the name would be a plain hash.
    if len(key) != _KEY_BYTES:
        raise OSError(0, "not a key")
    of = f"{credential.kind}\0{credential.value}".encode()
    return hmac.new(key, of, hashlib.sha256).hexdigest()


class AccountRecorder:
    """Stores what an answer to one credential says about its account."""

    def __init__(
        self, files: AccountFiles, credential: Credential, clock: Clock, *, run: str, chosen: str | None
    ) -> None:
        """`chosen` is the setting `agent.model` of the attempt."""
        self._files = files
        self._credential = credential
        self._clock = clock
        self._run = run
        self._chosen = chosen

    async def is_news(self, headers: Mapping[str, str]) -> bool:
        """Whether a success with these headers would change what is stored."""
        known = await asyncio.to_thread(self._files.read, self._credential)
        windows = windows_of(headers, self._clock.now())
        return bool(known.limits) or (bool(windows) and windows != known.windows)

    async def take(self, answer: ProviderAnswer) -> None:
        now = self._clock.now()
        windows = windows_of(answer.headers, now)
        limit = limit_of(answer, now)

        def change(known: Account) -> Account:
            if windows:
                known = replace(known, windows=windows, windows_seen=utc_text(now))
            if answer.is_success:
                return known.clear_limits(answer.model)
            if limit is not None and limit.cause in SHARED:
                return known.add_limit(self._describe(limit, answer, now), now)
            return known

        await asyncio.to_thread(self._files.update, self._credential, change)

    def _describe(self, limit: ProviderLimit, answer: ProviderAnswer, now: datetime) -> KnownLimit:
        return KnownLimit(
            cause=limit.cause,
            seen=utc_text(now),
            until=None if limit.until is None else utc_text(limit.until),
            status=answer.status,
            model=limit.model,
            chosen=self._chosen,
            run=self._run,
        )
