"""Reads the provider's limits from its answers: one table, from status, headers and body. Pure.

| the provider answers | cause | effect | until |
|---|---|---|---|
| 429 that no reset lifts | billing | stop if `…-status: rejected`, else end | unknown |
| 429, `anthropic-ratelimit-unified-status: rejected` | usage_limit | stop | the reset, see below |
| 429, `retry-after` above 60 s | rate_limit | stop | now + retry-after |
| 429 with a shorter one or none; 5xx; no connection | model_away | outage | unknown |
| 401, 403 | credential_refused | end | unknown |
| 402, or an error of type `billing_error` | billing | end | unknown |
| 400 | billing | end_if_claimed | unknown |
| 404 | model_unknown | end | unknown |

A usage limit ends at the latest reset among the windows whose own status is `rejected`. Without one it ends
at the reset of the whole, which follows the window that represents all others, and else after `retry-after`.
A provider, or a program between it and us, can send anything: a reset that is not a number is like none, and
one in the past or more than eight days away says nothing, so that no run waits for it.

No reset lifts a 429 that requires credits (`credits_required` in the error's details), or one for a budget
that a group shares (`anthropic-ratelimit-unified-overage-scope: group_pool`). No run waits for it, even if
headers name a reset.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from orchestrator.run.facts import LimitEffect, LimitWindow, RunCause
from orchestrator.text import utc_text

LONG_RETRY_SECONDS = 60.0
"""The agent's own retries are left alone up to this `retry-after`."""
LONGEST_WAIT = timedelta(days=8)
"""A weekly window ends within seven days."""
_PREFIX = "anthropic-ratelimit-unified-"
_ACCOUNT_WINDOWS = frozenset({"5h", "7d"})
"""Windows of the whole account; every other window is one model's."""
_ACCOUNT_CLAIMS = frozenset({"", "five_hour", "seven_day"})
_UTILIZATION = re.compile(rf"{_PREFIX}((?P<length>5h|7d)(?P<model>_\w{{1,40}})?)-utilization", re.ASCII)
_LENGTHS = {"5h": "five_hour", "7d": "seven_day"}
_HIGHEST_UTILIZATION = 100.0
"""Of paid overage the share can be above one; what is far above is not a share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAnswer:
    """The head of an answer, and the type of its error."""

    status: int | None
    """None: there was no connection."""
    headers: Mapping[str, str]
    """Names in lower case."""
    error_type: str | None = None
    error_code: str | None = None
    """Of the error's details."""
    model: str | None = None
    """The model that was asked for."""

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderLimit:
    """Why the provider did not answer a request, and what follows for the attempt."""

    cause: RunCause
    effect: LimitEffect
    until: datetime | None = None
    model: str | None = None
    """The model, where the limit is that of one model."""


def limit_of(answer: ProviderAnswer, now: datetime) -> ProviderLimit | None:
    """The row of the table that applies; None for an answer that limits nothing.

    Only the status says that a request was refused: with paid overage a rejected window comes with a 200.
    """
    match answer.status:
        case _ if answer.error_type == "billing_error" and answer.status != 200:
            return ProviderLimit(cause="billing", effect="end")
        case 429:
            headers = answer.headers
            retry = _retry_seconds(headers, now)
            is_rejected = _is_rejected(headers, f"{_PREFIX}status")
            if _needs_credits(answer):
                return ProviderLimit(cause="billing", effect="stop" if is_rejected else "end")
            if is_rejected:
                model = answer.model if _is_of_one_model(headers) else None
                until = _usage_limit_ends(headers, retry, now)
                return ProviderLimit(cause="usage_limit", effect="stop", until=until, model=model)
            if retry is not None and retry > LONG_RETRY_SECONDS:
                return ProviderLimit(cause="rate_limit", effect="stop", until=_time_after(now, retry))
            return ProviderLimit(cause="model_away", effect="outage", model=answer.model)
        case None:
            return ProviderLimit(cause="model_away", effect="outage", model=answer.model)
        case 401 | 403:
            return ProviderLimit(cause="credential_refused", effect="end")
        case 402:
            return ProviderLimit(cause="billing", effect="end")
        case 400:
            return ProviderLimit(cause="billing", effect="end_if_claimed")
        case 404:
            return ProviderLimit(cause="model_unknown", effect="end", model=answer.model)
        case int(status) if status >= 500:
            return ProviderLimit(cause="model_away", effect="outage", model=answer.model)
        case _:
            return None


def _needs_credits(answer: ProviderAnswer) -> bool:
    scope = answer.headers.get(f"{_PREFIX}overage-scope", "").strip().lower()
    return answer.error_code == "credits_required" or scope == "group_pool"


def _usage_limit_ends(headers: Mapping[str, str], retry: float | None, now: datetime) -> datetime | None:
    resets = [window.reset for window in _list_rejected_windows(headers) if window.reset is not None]
    whole = _number(headers.get(f"{_PREFIX}reset"))
    if resets:
        return _time_in_reach(max(resets), now)
    if whole is not None:
        return _time_in_reach(whole, now)
    return None if retry is None else _time_after(now, retry)


class _Window(NamedTuple):
    name: str
    reset: float | None


def _list_rejected_windows(headers: Mapping[str, str]) -> Iterator[_Window]:
    """Of headers like `anthropic-ratelimit-unified-5h-status`; paid overage is not a window."""
    for name in headers:
        window = name.removeprefix(_PREFIX).removesuffix("-status")
        is_window = name == f"{_PREFIX}{window}-status" and window != "overage"
        if is_window and _is_rejected(headers, name):
            yield _Window(window, _number(headers.get(f"{_PREFIX}{window}-reset")))


def windows_of(headers: Mapping[str, str], now: datetime) -> tuple[LimitWindow, ...]:
    """How much of each window of a subscription is used; the provider says it in every answer, also in a
    success. Sorted by name."""
    found = []
    for name, text in headers.items():
        known, share = _UTILIZATION.fullmatch(name), _number(text)
        if known is None or share is None or not 0 <= share <= _HIGHEST_UTILIZATION:
            continue
        reset = _number(headers.get(f"{_PREFIX}{known[1]}-reset"))
        resets = None if reset is None else _time_in_reach(reset, now)
        found.append(
            LimitWindow(
                window=_LENGTHS[known["length"]] + (known["model"] or ""),
                utilization=share,
                resets=None if resets is None else utc_text(resets),
            )
        )
    return tuple(sorted(found, key=lambda each: each.window))


def _is_of_one_model(headers: Mapping[str, str]) -> bool:
    rejected = {window.name for window in _list_rejected_windows(headers)}
    if rejected:
        return rejected.isdisjoint(_ACCOUNT_WINDOWS)
    return headers.get(f"{_PREFIX}representative-claim", "").strip().lower() not in _ACCOUNT_CLAIMS


def _is_rejected(headers: Mapping[str, str], name: str) -> bool:
    return headers.get(name, "").strip().lower() == "rejected"


def _retry_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """The seconds of `retry-after`, which may also be a date; None when it is absent or not usable."""
    text = headers.get("retry-after", "").strip()
    seconds = _number(text)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp()


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _time_after(now: datetime, seconds: float) -> datetime | None:
    return _time_in_reach(now.timestamp() + seconds, now)


def _time_in_reach(moment: float, now: datetime) -> datetime | None:
    """The moment as a time, unless it is in the past or too far away to be a limit's end."""
    if not 0 < moment - now.timestamp() <= LONGEST_WAIT.total_seconds():
        return None
    return datetime.fromtimestamp(moment, UTC)


class ErrorNames(NamedTuple):
    type: str | None
    code: str | None


def read_error(body: bytes) -> ErrorNames:
    """The names that an error in the provider's format has; each is None where the body does not give it."""
    error = _object(body).get("error")
    if not isinstance(error, dict):
        return ErrorNames(None, None)
    kind, details = error.get("type"), error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    return ErrorNames(kind if isinstance(kind, str) else None, code if isinstance(code, str) else None)


def model_of(request: bytes) -> str | None:
    """The model that a request names, shortened; None when it does not name one."""
    model = _object(request).get("model")
    return model[:200] if isinstance(model, str) and model else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
