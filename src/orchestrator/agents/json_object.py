"""Strict JSON: what an agent or the author of a script wrote, decoded without trusting it."""

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Deeper values are refused: code that encodes or walks them later would run out of stack."""


def decode_strictly(text: str) -> Any:
    """A JSON value, by the letter of the standard.

    The standard library also takes NaN and Infinity, and silently keeps the last of two equal keys. Raises
    JSONDecodeError for a fault of syntax, and ValueError for these, or for nesting that exhausts the stack.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decode_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`, lone surrogates replaced.

    Raises ValueError, and nothing else, for anything that is not exactly one UTF-8 JSON object. Duplicate
    keys, NaN and Infinity, numbers out of range, and nesting beyond MAX_DEPTH are refused too.
    """
    value = decode_strictly(raw.decode("utf-8"))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    cleaned: dict[str, Any] = _clean(value, MAX_DEPTH)
    return cleaned


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {json.dumps(twice[:80])} occurs twice in one object")
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
