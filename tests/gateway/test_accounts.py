"""The file that runs share about the limits of a credential, and bad content of such a file."""

import os
import stat
import threading
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.gateway.access import Credential
from orchestrator.gateway.accounts import (
    UNKNOWN_END,
    Account,
    AccountFiles,
    AccountRecorder,
    KnownLimit,
    end_of,
)
from orchestrator.gateway.limits import LONGEST_WAIT, ProviderAnswer
from orchestrator.run.facts import LimitWindow
from orchestrator.testing.clock import START, FakeClock
from orchestrator.text import utc_text

NOW = START
SOON, LATER = NOW + timedelta(hours=3), NOW + timedelta(days=4)
KEY = Credential(kind="api_key", value="sk-canary-1")
OTHER = Credential(kind="api_key", value="sk-canary-2")
UNIFIED = "anthropic-ratelimit-unified"


def limit(until: datetime | None = SOON, **more: Any) -> KnownLimit:
    end = None if until is None else utc_text(until)
    return replace(KnownLimit(cause="usage_limit", seen=utc_text(NOW), until=end, status=429), **more)


def in_force(*limits: KnownLimit, chosen: str | None = None, now: datetime = NOW) -> datetime | str | None:
    """When the limit that counts ends, or that this is not known; None: there is none."""
    found = Account(limits=limits).limit_in_force(now, chosen)
    return None if found is None else end_of(found, now) or "unknown"


def test_a_limit_counts_until_its_end() -> None:
    assert in_force(limit()) == SOON
    assert in_force(limit(), now=SOON) is None
    assert in_force(limit(), limit(LATER, cause="rate_limit")) == LATER


def test_a_limit_without_an_end_counts_for_an_hour() -> None:
    assert in_force(limit(None)) == "unknown"
    assert in_force(limit(None), now=NOW + UNKNOWN_END) is None
    assert in_force(limit(None), now=NOW - timedelta(days=1)) is None, "the clock was set back"


def test_an_end_that_cannot_be_is_unknown() -> None:
    assert in_force(limit(NOW + LONGEST_WAIT + timedelta(days=1))) == "unknown"
    assert in_force(replace(limit(), until="soon")) == "unknown"


@pytest.mark.parametrize(
    ("model", "met_as", "chosen", "counts"),
    [
        (None, None, "opus", True),
        ("claude-opus-5-5", "opus", "opus", True),
        ("claude-opus-5-5", "opus", "claude-opus-5-5", True),
        ("claude-opus-5-5", None, None, True),
        ("claude-opus-5-5", None, "sonnet", False),
        ("claude-opus-5-5", "opus", None, False),
    ],
)
def test_a_limit_of_one_model_counts_for_that_model(
    model: str | None, met_as: str | None, chosen: str | None, counts: bool
) -> None:
    assert (in_force(limit(model=model, chosen=met_as), chosen=chosen) is not None) == counts


def test_a_success_clears_what_it_would_have_met() -> None:
    known = Account(limits=(limit(), limit(model="a"), limit(model="b")))
    assert known.clear_limits("a").limits == (limit(model="b"),)
    assert known.clear_limits(None).limits == (limit(model="a"), limit(model="b"))


def test_the_same_limit_is_kept_once_and_one_that_has_ended_is_forgotten() -> None:
    known = Account(limits=(limit(), limit(SOON, cause="rate_limit")))
    assert known.add_limit(limit(LATER), NOW).limits == (limit(SOON, cause="rate_limit"), limit(LATER))
    assert known.add_limit(limit(LATER), SOON).limits == (limit(LATER),)


def test_each_credential_has_a_private_file_whose_name_says_nothing(tmp_path: Path) -> None:
    files = AccountFiles(tmp_path)
    assert files.read(KEY) == Account() and not list(tmp_path.iterdir())
    files.update(KEY, lambda known: known.add_limit(limit(), NOW))
    files.update(OTHER, lambda known: replace(known, expires=utc_text(SOON)))
    assert files.read(KEY) == Account(limits=(limit(),))
    assert files.read(OTHER) == Account(expires=utc_text(SOON))
    folder = tmp_path / "accounts"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert b"canary" not in b"".join(path.name.encode() + path.read_bytes() for path in folder.iterdir())
    token = Credential(kind="oauth_token", value=KEY.value)
    assert files.read(token) == Account()
    elsewhere = AccountFiles(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    elsewhere.update(KEY, lambda known: known.add_limit(limit(), NOW))
    names = {path.name for path in folder.glob("*.json")}
    assert names.isdisjoint(path.name for path in (tmp_path / "elsewhere" / "accounts").glob("*.json"))


BROKEN = {
    "empty": b"",
    "torn": b'{"limits": [{"cause": "usage_limit"',
    "not JSON": b"\xff\x00",
    "another type": b'{"limits": 3}',
    "a cause that does not exist": b'{"limits": [{"cause": "mood", "seen": "x"}]}',
    "deep": b"[" * 50_000,
    "large": b" " * 200_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_like_none_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    files = AccountFiles(tmp_path)
    files.update(KEY, lambda known: known.add_limit(limit(), NOW))
    (file,) = (tmp_path / "accounts").glob("*.json")
    file.write_bytes(content)
    assert files.read(KEY) == Account()
    files.update(KEY, lambda known: known.add_limit(limit(LATER), NOW))
    assert files.read(KEY).limits == (limit(LATER),)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_broken_key_is_replaced_and_what_was_stored_with_it_is_forgotten(
    tmp_path: Path, content: bytes
) -> None:
    files = AccountFiles(tmp_path)
    files.update(KEY, lambda known: known.add_limit(limit(), NOW))
    (tmp_path / "accounts" / "key").write_bytes(content)
    assert files.read(KEY) == Account()
    files.update(KEY, lambda known: known.add_limit(limit(LATER), NOW))
    assert files.read(KEY).limits == (limit(LATER),)


def test_a_folder_that_cannot_be_written_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "accounts").write_text("a file where the folder should be")
    files = AccountFiles(tmp_path)
    files.update(KEY, lambda known: known.add_limit(limit(), NOW))
    assert files.read(KEY) == Account()


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    def one(name: str, number: int) -> KnownLimit:
        return limit(model=f"{name}{number}")

    def write(name: str) -> None:
        for number in range(5):
            AccountFiles(tmp_path).update(KEY, partial(Account.add_limit, limit=one(name, number), now=NOW))

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(AccountFiles(tmp_path).read(KEY).limits) == 10


def test_the_files_of_old_credentials_are_removed(tmp_path: Path) -> None:
    files = AccountFiles(tmp_path)
    files.update(OTHER, lambda known: replace(known, expires=utc_text(SOON)))
    (old,) = (tmp_path / "accounts").glob("*.json")
    os.utime(old, (0, 0))
    files.update(KEY, lambda known: replace(known, expires=utc_text(SOON)))
    assert not old.exists() and files.read(KEY).expires == utc_text(SOON)


def headers(reset: datetime = SOON, used: str = "0.5") -> dict[str, str]:
    return {
        f"{UNIFIED}-status": "rejected",
        f"{UNIFIED}-5h-status": "rejected",
        f"{UNIFIED}-5h-reset": str(int(reset.timestamp())),
        f"{UNIFIED}-5h-utilization": used,
    }


async def test_the_gateway_stores_a_limit_and_clears_it_after_a_success(tmp_path: Path) -> None:
    files = AccountFiles(tmp_path)
    recorder = AccountRecorder(files, KEY, FakeClock(), run="r1", chosen=None)
    await recorder.take(ProviderAnswer(status=429, headers=headers(), model="m"))
    (known,) = files.read(KEY).limits
    assert known == limit(run="r1")
    assert files.read(KEY).windows == (
        LimitWindow(window="five_hour", utilization=0.5, resets=utc_text(SOON)),
    )
    assert await recorder.is_news({})
    await recorder.take(ProviderAnswer(status=200, headers=headers(used="0.6"), model="m"))
    assert files.read(KEY).limits == ()
    assert files.read(KEY).windows[0].utilization == 0.6
    assert not await recorder.is_news(headers(used="0.6"))


@pytest.mark.parametrize("status", [None, 400, 401, 402, 403, 404, 429, 500, 529])
async def test_other_refusals_are_not_shared(tmp_path: Path, status: int | None) -> None:
    files = AccountFiles(tmp_path)
    recorder = AccountRecorder(files, KEY, FakeClock(), run="r1", chosen=None)
    await recorder.take(ProviderAnswer(status=status, headers={}, model="m"))
    assert files.read(KEY) == Account()


async def test_missing_credits_are_not_shared(tmp_path: Path) -> None:
    files = AccountFiles(tmp_path)
    recorder = AccountRecorder(files, KEY, FakeClock(), run="r1", chosen=None)
    spent = ProviderAnswer(status=429, headers=headers(), error_code="credits_required", model="m")
    await recorder.take(spent)
    assert files.read(KEY).limits == ()
