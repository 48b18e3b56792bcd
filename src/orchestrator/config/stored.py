"""The settings that a run stores, and how they differ from those in force now. Pure: no file, no environment.

A run stores the values of its settings, from all sources. A resumed run uses these values, so that
neither an attempt that edits `orchestrator.toml` nor a variable that happens to be set in another terminal
changes the terms of the run.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from orchestrator.config.layers import Given
from orchestrator.config.resolve import Row
from orchestrator.config.settings import TABLE

SHOWN_CHARACTERS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSetting:
    """A setting that was not the default when the run started, or took its settings last."""

    key: str
    value: Any
    """As it was written."""
    source: str


def settings_to_store(rows: Iterable[Row]) -> tuple[StoredSetting, ...]:
    """The settings that a run stores. Flags are stored as options of the run instead, and override these."""
    return tuple(
        StoredSetting(key=row.key, value=row.value, source=row.source)
        for row in rows
        if row.origin not in ("default", "flag")
    )


def from_stored(stored: Iterable[StoredSetting]) -> Iterator[Given]:
    """The stored settings as a source; one that this version does not have any more is left out."""
    for each in stored:
        if each.key in TABLE:
            key = tuple(each.key.split("."))
            yield Given(key=key, value=each.value, origin="stored", where=each.source)


def list_changes(before: Iterable[Row], now: Iterable[Row]) -> tuple[str, ...]:
    """One line for each setting with another value: its key, both values, and where each comes from."""
    earlier = {row.key: row for row in before}
    return tuple(
        _describe_change(earlier[row.key], row) for row in now if row.value != earlier[row.key].value
    )


def _describe_change(before: Row, now: Row) -> str:
    first, second = _render_value(before), _render_value(now)
    # Of long values that begin alike, only the part around the first difference says what has changed.
    pairs = zip(first, second, strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    start = max(0, common - SHOWN_CHARACTERS // 4) if max(len(first), len(second)) > SHOWN_CHARACTERS else 0
    old, new = _excerpt_from(first, start), _excerpt_from(second, start)
    return f"{now.key}: {old} ({before.source}) -> {new} ({now.source})"


def _render_value(row: Row) -> str:
    return "not set" if row.value is None else json.dumps(row.value, ensure_ascii=False, default=str)


def _excerpt_from(text: str, start: int) -> str:
    end = start + SHOWN_CHARACTERS
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
