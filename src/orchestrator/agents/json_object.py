"""JSON that an agent wrote, decoded without trusting it."""

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Deeper values are refused: whatever encodes or walks them later would run out of stack."""


def decode_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`, lone surrogates replaced.

    Raises ValueError, and nothing else, for anything that is not exactly one UTF-8 JSON object; duplicate
    keys, numbers that are none, and nesting beyond MAX_DEPTH are refused too.
    """
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    cleaned: dict[str, Any] = _clean(value, MAX_DEPTH)
    return cleaned


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _clean(value: Any, depth: int) -> Any:
    if depth == 0:
        raise ValueError("nested too deeply")
    match value:
        case str():
            return _encodable(value)
        case dict():
            return {_encodable(key): _clean(entry, depth - 1) for key, entry in value.items()}
        case list():
            return [_clean(entry, depth - 1) for entry in value]
        case float() if not math.isfinite(value):
            raise ValueError("a number is out of range")
    return value


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
