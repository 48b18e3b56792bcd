"""The table of what a provider's answer means, row by row, and everything that can be wrong with a header."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gateway.limits import (
    LONGEST_WAIT,
    ProviderAnswer,
    ProviderLimit,
    limit_of,
    model_of,
    read_error,
    windows_of,
)
from orchestrator.run.facts import LimitEffect, LimitWindow, RunCause
from orchestrator.text import utc_text

NOW = datetime(2026, 11, 28, 5, 0, tzinfo=UTC)
SOON = NOW + timedelta(hours=3)
LATER = NOW + timedelta(days=4)
UNIFIED = "anthropic-ratelimit-unified"


def judge(
    status: int | None,
    headers: Mapping[str, str] | None = None,
    *,
    error_type: str | None = None,
    error_code: str | None = None,
    model: str | None = "m",
) -> ProviderLimit | None:
    names = {"error_type": error_type, "error_code": error_code, "model": model}
    return limit_of(ProviderAnswer(status=status, headers=headers or {}, **names), NOW)


def epoch(moment: datetime) -> str:
    return str(int(moment.timestamp()))


def rejected(**more: str) -> dict[str, str]:
    """Headers of a usage limit; underscores in names stand for hyphens, except in a model's window."""
    names = {name: name.replace("_", "-").replace("7d-oi", "7d_oi") for name in more}
    return {f"{UNIFIED}-status": "rejected"} | {f"{UNIFIED}-{names[k]}": v for k, v in more.items()}


def until_of(headers: Mapping[str, str]) -> datetime | None:
    found = judge(429, headers)
    assert found is not None and (found.cause, found.effect) == ("usage_limit", "stop")
    return found.until


@pytest.mark.parametrize(
    ("status", "headers", "error_type", "cause", "effect", "until"),
    [
        (429, rejected(reset=epoch(SOON)), "rate_limit_error", "usage_limit", "stop", SOON),
        (429, {"retry-after": "61"}, None, "rate_limit", "stop", NOW + timedelta(seconds=61)),
        (429, {"retry-after": "60"}, None, "model_away", "outage", None),
        (429, {}, None, "model_away", "outage", None),
        (429, {f"{UNIFIED}-status": "allowed"}, None, "model_away", "outage", None),
        (529, {}, "overloaded_error", "model_away", "outage", None),
        (529, {"retry-after": "3600"}, None, "model_away", "outage", None),
        (500, {}, "api_error", "model_away", "outage", None),
        (599, {}, None, "model_away", "outage", None),
        (None, {}, None, "model_away", "outage", None),
        (401, {}, "authentication_error", "credential_refused", "end", None),
        (403, {}, "permission_error", "credential_refused", "end", None),
        (402, {}, None, "billing", "end", None),
        (403, {}, "billing_error", "billing", "end", None),
        (400, {}, "billing_error", "billing", "end", None),
        (400, {}, "invalid_request_error", "billing", "end_if_claimed", None),
        (404, {}, "not_found_error", "model_unknown", "end", None),
    ],
)
def test_each_row(
    status: int | None,
    headers: dict[str, str],
    error_type: str | None,
    cause: RunCause,
    effect: LimitEffect,
    until: datetime | None,
) -> None:
    found = judge(status, headers, error_type=error_type)
    assert found is not None
    assert (found.cause, found.effect, found.until) == (cause, effect, until)


@pytest.mark.parametrize(
    ("headers", "error_code"),
    [({}, "credits_required"), ({f"{UNIFIED}-overage-scope": "group_pool"}, None)],
    ids=["credits", "group"],
)
def test_no_reset_is_waited_for_where_credits_are_missing(
    headers: dict[str, str], error_code: str | None
) -> None:
    spent = rejected(reset=epoch(SOON)) | {"retry-after": "3600"} | headers
    assert judge(429, spent, error_code=error_code) == ProviderLimit(cause="billing", effect="stop")
    assert judge(429, headers, error_code=error_code) == ProviderLimit(cause="billing", effect="end")


@pytest.mark.parametrize("status", [200, 201, 204, 302, 405, 413, 422])
def test_other_answers_limit_nothing(status: int) -> None:
    assert judge(status) is None


def test_a_rejected_window_with_paid_overage_is_a_success() -> None:
    headers = {
        f"{UNIFIED}-status": "rejected",
        f"{UNIFIED}-5h-status": "rejected",
        f"{UNIFIED}-5h-reset": epoch(SOON),
        f"{UNIFIED}-overage-status": "allowed",
    }
    assert judge(200, headers) is None


def test_of_two_rejected_windows_the_later_reset_counts() -> None:
    headers = rejected(
        **{"5h_status": "rejected", "5h_reset": epoch(SOON), "7d_status": "rejected"},
        **{"7d_reset": epoch(LATER), "reset": epoch(SOON)},
    )
    assert until_of(headers) == LATER


def test_the_reset_of_a_window_that_is_allowed_does_not_count() -> None:
    """The reset of the whole follows the window that represents the others, which need not be the rejected
    one."""
    headers = rejected(
        **{"5h_status": "rejected", "5h_reset": epoch(SOON), "7d_status": "allowed_warning"},
        **{"7d_reset": epoch(LATER), "reset": epoch(LATER), "representative_claim": "seven_day"},
    )
    assert until_of(headers) == SOON


def test_overage_that_is_rejected_is_not_a_window() -> None:
    headers = rejected(overage_status="rejected", overage_reset=epoch(LATER), reset=epoch(SOON))
    assert until_of(headers) == SOON


def test_without_any_reset_retry_after_counts() -> None:
    assert until_of(rejected() | {"retry-after": "120"}) == NOW + timedelta(seconds=120)
    assert until_of(rejected()) is None


NO_TIME = {
    "text": "tomorrow",
    "empty": "",
    "blank": "  ",
    "milliseconds": "1000000000000",
    "yesterday": epoch(NOW - timedelta(days=1)),
    "now": epoch(NOW),
    "nine days": epoch(NOW + timedelta(days=9)),
    "zero": "0",
    "negative": "-1",
    "infinite": "inf",
    "not a number": "nan",
    "huge": "9" * 400,
    "a date": "2026-11-28T09:00:00Z",
}


@pytest.mark.parametrize("text", NO_TIME.values(), ids=NO_TIME)
@pytest.mark.parametrize("where", ["reset", "5h_reset"])
def test_a_reset_that_cannot_be_is_unknown(text: str, where: str) -> None:
    headers = rejected(**{"5h_status": "rejected", where: text})
    assert until_of(headers) is None


@pytest.mark.parametrize("text", ["tomorrow", "", "nan"])
def test_a_reset_that_is_not_a_number_is_like_none(text: str) -> None:
    headers = rejected(**{"5h_status": "rejected", "5h_reset": text, "reset": epoch(SOON)})
    assert until_of(headers) == SOON


def test_a_reset_with_a_fraction_counts() -> None:
    assert until_of(rejected(reset=f"{int(SOON.timestamp())}.5")) == SOON + timedelta(seconds=0.5)


def test_eight_days_are_the_longest_wait() -> None:
    assert until_of(rejected(reset=epoch(NOW + LONGEST_WAIT))) == NOW + LONGEST_WAIT
    assert until_of(rejected(reset=epoch(NOW + LONGEST_WAIT + timedelta(seconds=1)))) is None


@pytest.mark.parametrize(
    ("headers", "model"),
    [
        (rejected(**{"5h_status": "rejected"}), None),
        (rejected(**{"7d_status": "rejected", "7d_oi_status": "rejected"}), None),
        (rejected(**{"7d_oi_status": "rejected", "5h_status": "allowed"}), "m"),
        (rejected(representative_claim="five_hour"), None),
        (rejected(representative_claim="seven_day_opus"), "m"),
        (rejected(), None),
    ],
    ids=["five hours", "both", "one model's", "claim", "claim of one model", "nothing said"],
)
def test_the_limit_of_one_model_names_it(headers: dict[str, str], model: str | None) -> None:
    found = judge(429, headers)
    assert found is not None and found.model == model


@pytest.mark.parametrize("text", ["", "soon", "-5", "nan", "inf", "30", "Sat, 28 Nov 2026 05:00:30 GMT"])
def test_a_short_or_unusable_retry_after_is_left_to_the_agent(text: str) -> None:
    found = judge(429, {"retry-after": text})
    assert found is not None and (found.cause, found.effect) == ("model_away", "outage")


def test_retry_after_can_be_a_date() -> None:
    found = judge(429, {"retry-after": "Sat, 28 Nov 2026 06:00:00 GMT"})
    assert found is not None and (found.cause, found.until) == ("rate_limit", NOW + timedelta(hours=1))


def test_a_retry_after_of_weeks_is_a_limit_without_an_end() -> None:
    found = judge(429, {"retry-after": "99999999"})
    assert found is not None and (found.cause, found.effect, found.until) == ("rate_limit", "stop", None)


def test_windows_are_read_from_every_answer() -> None:
    headers = {
        f"{UNIFIED}-status": "allowed",
        f"{UNIFIED}-7d-utilization": "0.41",
        f"{UNIFIED}-7d-reset": epoch(LATER),
        f"{UNIFIED}-5h-utilization": "0.93",
        f"{UNIFIED}-5h-reset": epoch(SOON),
        f"{UNIFIED}-7d_opus-utilization": "1.0",
    }
    assert windows_of(headers, NOW) == (
        LimitWindow(window="five_hour", utilization=0.93, resets=utc_text(SOON)),
        LimitWindow(window="seven_day", utilization=0.41, resets=utc_text(LATER)),
        LimitWindow(window="seven_day_opus", utilization=1.0, resets=None),
    )


@pytest.mark.parametrize("text", ["", "much", "nan", "inf", "-0.1", "1e9"])
def test_a_share_that_cannot_be_is_left_out(text: str) -> None:
    assert windows_of({f"{UNIFIED}-5h-utilization": text}, NOW) == ()


@pytest.mark.parametrize("name", ["overage", "grace-5h", "slow-budget", "1h", "5h-x"])
def test_what_is_not_a_window_of_the_subscription_is_left_out(name: str) -> None:
    assert windows_of({f"{UNIFIED}-{name}-utilization": "0.5"}, NOW) == ()


@pytest.mark.parametrize("text", NO_TIME.values(), ids=NO_TIME)
def test_a_window_whose_reset_cannot_be_has_none(text: str) -> None:
    (window,) = windows_of({f"{UNIFIED}-5h-utilization": "0.5", f"{UNIFIED}-5h-reset": text}, NOW)
    assert window.resets is None


_TEXTS = st.one_of(st.text(max_size=30), st.integers().map(str), st.floats().map(str))


@given(
    status=st.one_of(st.none(), st.integers(100, 999)),
    headers=st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                *(f"{UNIFIED}{part}" for part in ("-status", "-reset", "-5h-status", "-5h-reset", "-")),
                *(
                    f"{UNIFIED}{part}"
                    for part in ("-7d_oi-status", "-representative-claim", "-status-status")
                ),
            ]
        ),
        st.one_of(_TEXTS, st.just("rejected")),
    ),
)
def test_no_header_breaks_the_table(status: int | None, headers: dict[str, str]) -> None:
    found = judge(status, headers)
    if found is not None and found.until is not None:
        assert NOW < found.until <= NOW + LONGEST_WAIT


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"type": "error", "error": {"type": "billing_error", "message": "no"}}', ("billing_error", None)),
        (
            b'{"error": {"type": "t", "details": {"error_code": "credits_required"}}}',
            ("t", "credits_required"),
        ),
        (b'{"error": {"details": {"error_code": 7}}}', (None, None)),
        (b'{"error": {"details": "no"}}', (None, None)),
        (b'{"error": "text"}', (None, None)),
        (b'{"error": {"type": 7}}', (None, None)),
        (b"<html>", (None, None)),
        (b"[1]", (None, None)),
        (b"\xff", (None, None)),
        (b"[" * 100_000, (None, None)),
    ],
)
def test_the_names_of_an_error(body: bytes, names: tuple[str | None, str | None]) -> None:
    assert read_error(body) == names


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model": "m-1"}', "m-1"),
        (b'{"model": ""}', None),
        (b'{"model": 3}', None),
        (b"\x1f\x8b", None),
        (b'{"model": "' + b"x" * 500 + b'"}', "x" * 200),
    ],
)
def test_the_model_of_a_request(body: bytes, model: str | None) -> None:
    assert model_of(body) == model
