"""Records what the provider says about limits: few facts, however many requests an agent sends."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.clock import Clock
from orchestrator.gateway.accounts import AccountRecorder
from orchestrator.gateway.limits import (
    ProviderAnswer,
    ProviderLimit,
    limit_of,
    model_of,
    read_error,
    windows_of,
)
from orchestrator.run.facts import LimitEffect, LimitPassed, LimitSeen, LimitWindow, RunCause, WindowsSeen
from orchestrator.text import utc_text

LimitFact = LimitSeen | LimitPassed | WindowsSeen
AppendFact = Callable[[LimitFact, str], Awaitable[None]]
"""Stores a fact once for each key."""
MAX_EPISODES = 20
"""How often a limit of one kind is recorded in one attempt, after it has passed. An agent that alternates
between a bad and a good model would fill the journal."""

PAUSE_SECONDS = 600.0
"""Failures further apart than this are not one outage; the agent's own retries are minutes apart at most."""


WINDOW_STEP = 0.02
"""A window's use is recorded again when it has changed by this share."""


async def append_nothing(_body: LimitFact, _key: str) -> None:
    """For an endpoint without a journal."""


class _Kind(NamedTuple):
    cause: RunCause
    effect: LimitEffect


class _Outage(NamedTuple):
    first: float
    last: float


class LimitRecorder:
    """Records the limits that an attempt's requests meet. A success ends failures of its own model only."""

    def __init__(self, append: AppendFact, clock: Clock) -> None:
        self._append = append
        self._clock = clock
        self._open: dict[_Kind, str | None] = {}
        """Limits that were recorded and have not passed, with the model that was asked for."""
        self._episodes: Counter[_Kind] = Counter()
        self._outages: dict[str | None, _Outage] = {}
        """By model: failures that the agent's own retries are to survive."""
        self._windows: tuple[LimitWindow, ...] = ()
        """As they were recorded last."""
        self._recording = asyncio.Lock()

    def is_news(self, headers: Mapping[str, str]) -> bool:
        """Whether a success with these headers has to be recorded."""
        has_failed = bool(self._open or self._outages)
        return has_failed or self._have_moved(windows_of(headers, self._clock.now()))

    async def take(self, answer: ProviderAnswer, outage_seconds: float) -> None:
        """Record what this answer says; returns when it is stored."""
        # One answer after the other: a success and a failure that arrive at the same time must be stored in
        # one order.
        async with self._recording:
            await self._record_windows(windows_of(answer.headers, self._clock.now()))
            if answer.is_success:
                await self._record_success(answer.model)
                return
            limit = limit_of(answer, self._clock.now())
            if limit is None:
                return
            if limit.effect == "outage" and not self._is_outage(answer.model, outage_seconds):
                return
            await self._record_limit(limit, answer)

    async def _record_success(self, model: str | None) -> None:
        self._outages.pop(model, None)
        for kind, asked in list(self._open.items()):
            if asked == model and kind.effect in ("end", "end_if_claimed"):
                del self._open[kind]
                passed = LimitPassed(cause=kind.cause, effect=kind.effect)
                await self._append(passed, self._key(kind))
                self._episodes[kind] += 1

    async def _record_limit(self, limit: ProviderLimit, answer: ProviderAnswer) -> None:
        kind = _Kind(limit.cause, limit.effect)
        # An agent that tries again and again would otherwise fill the journal with one fact for each request.
        if kind in self._open or self._episodes[kind] >= MAX_EPISODES:
            return
        self._open[kind] = answer.model
        seen = LimitSeen(
            cause=limit.cause,
            effect=limit.effect,
            until=None if limit.until is None else utc_text(limit.until),
            status=answer.status,
            model=limit.model,
        )
        await self._append(seen, self._key(kind))

    async def _record_windows(self, windows: tuple[LimitWindow, ...]) -> None:
        if self._have_moved(windows):
            self._windows = windows
            # The content is the key: a gateway that was restarted does not know how many there were.
            await self._append(WindowsSeen(windows=windows), str(windows))

    def _have_moved(self, windows: tuple[LimitWindow, ...]) -> bool:
        if not windows:
            return False
        known = {each.window: each for each in self._windows}
        return known.keys() != {each.window for each in windows} or any(
            abs(known[each.window].utilization - each.utilization) >= WINDOW_STEP
            or known[each.window].resets != each.resets
            for each in windows
        )

    def _is_outage(self, model: str | None, outage_seconds: float) -> bool:
        """Whether requests for this model have failed for so long, without a success or a long pause.

        A pause means that the agent did not need the model: nothing is known about that time.
        """
        now = self._clock.monotonic()
        known = self._outages.get(model)
        first = now if known is None or now - known.last > max(PAUSE_SECONDS, outage_seconds) else known.first
        self._outages[model] = _Outage(first, now)
        return now - first >= outage_seconds

    def _key(self, kind: _Kind) -> str:
        return f"{kind.cause}/{kind.effect}/{self._episodes[kind]}"


@dataclass(frozen=True, slots=True)
class Answers:
    """Where the answer to one request is reported."""

    recorder: LimitRecorder
    outage_seconds: float
    request: bytes
    """The request's body."""
    account: AccountRecorder | None = None
    """None where no credential is used."""

    async def take(self, status: int | None, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Report the answer's status, headers and beginning; None: there was no connection."""
        lowered = {name.lower(): value for name, value in headers.items()}
        if status is not None and 200 <= status < 300 and not await self._is_news(lowered):
            return  # the usual case; large requests are not parsed for it
        error = read_error(body)
        answer = ProviderAnswer(
            status=status,
            headers=lowered,
            error_type=error.type,
            error_code=error.code,
            model=await asyncio.to_thread(model_of, self.request),
        )
        # The account comes first: a run that parks because of the fact has stored what others need to know.
        if self.account is not None:
            await self.account.take(answer)
        await self.recorder.take(answer, self.outage_seconds)

    async def _is_news(self, headers: Mapping[str, str]) -> bool:
        return self.recorder.is_news(headers) or (
            self.account is not None and await self.account.is_news(headers)
        )
