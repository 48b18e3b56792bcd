"""Reads the values of each source of settings, without checking keys and types."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

from orchestrator.config.settings import SECTIONS, TABLE
from orchestrator.errors import ConfigurationError

Origin = Literal["repository", "user", "environment", "flag", "stored"]

PREFIX = "ORCHESTRATOR_"
RESERVED = ("ORCHESTRATOR_RUN", "ORCHESTRATOR_TASK", "ORCHESTRATOR_ATTEMPT", "ORCHESTRATOR_OUTCOME")
"""Variables that an agent finds in its environment; they are not settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value as it was written. Neither its type nor the existence of its key is checked yet."""

    key: tuple[str, ...]
    value: object
    origin: Origin
    where: str
    """File and line, variable or flag, for messages."""
    item_where: tuple[str, ...] = ()
    """The same for each item of an array of tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A setting given by a flag of its own, such as `--model`, with its value already typed."""

    key: str
    value: object
    flag: str


def from_file(content: bytes, *, origin: Origin, name: str) -> tuple[Given, ...]:
    """The settings of a TOML file, which is called `name` in messages. Raises ConfigurationError."""
    text = _decode(content, name)
    document = _parse(text, name)
    if not document:
        return ()
    from orchestrator.config.lines import key_lines

    lines = key_lines(text)

    def describe_line(*path: str | int) -> str:
        while path and path not in lines:
            path = path[:-1]
        return f"{name}:{lines[path]}" if path else name

    return tuple(
        Given(
            key=key,
            value=value,
            origin=origin,
            # an array of tables has no line of its own: take that of its first table
            where=describe_line(*key, 0) if key not in lines else describe_line(*key),
            item_where=tuple(describe_line(*key, index) for index in range(len(value)))
            if isinstance(value, list)
            else (),
        )
        for key, value in _leaves(document)
    )


def from_environment(environ: Mapping[str, str]) -> tuple[Given, ...]:
    """The settings among the variables; an empty variable counts as not set. Raises ConfigurationError."""
    names = {PREFIX + key.replace(".", "_").upper(): key for key in TABLE}
    given = []
    for name in sorted(environ):
        if name in names and environ[name]:
            key = names[name]
            given.append(_from_text(key, environ[name], origin="environment", where=name))
        elif name not in names and _looks_like_setting(name):
            meant = find_nearest(name.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in names])
            raise ConfigurationError(
                "unknown setting",
                where=name,
                hint="Unset it: variables of this form are reserved for the orchestrator's settings."
                if meant is None
                else f"Did you mean {PREFIX}{meant}?",
            )
    return tuple(given)


def from_flags(overrides: Iterable[str | Override]) -> tuple[Given, ...]:
    """The values of `-c SECTION.KEY=VALUE` and of flags with a name of their own, in the given order.

    Keys and values are not checked yet. Raises ConfigurationError for a `-c` that is not an assignment.
    """
    return tuple(
        _parse_assignment(each)
        if isinstance(each, str)
        else Given(key=tuple(each.key.split(".")), value=each.value, origin="flag", where=each.flag)
        for each in overrides
    )


def find_nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word[:80], list(known), n=1)), None)


def _parse_assignment(text: str) -> Given:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigurationError(
            f"{text[:80]!r} is not SECTION.KEY=VALUE", where="-c", hint="For example: -c limits.attempts=2"
        )
    if key in TABLE:
        return _from_text(key, value, origin="flag", where="-c")
    return Given(key=tuple(key.split(".")), value=value, origin="flag", where="-c")


def _from_text(key: str, text: str, *, origin: Origin, where: str) -> Given:
    """The text as a TOML value, or the text itself when it is not TOML."""
    value = _toml_value(text)
    if value is None or (TABLE[key].kind.bare and not isinstance(value, str)):
        value = text
    return Given(key=tuple(key.split(".")), value=value, origin=origin, where=where)


def _toml_value(text: str) -> object:
    import tomllib

    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return None
    return document["value"] if len(document) == 1 else None


def _looks_like_setting(name: str) -> bool:
    """Whether a variable was probably meant as a setting, so that a mistyped name is reported."""
    if not name.startswith(PREFIX) or name in RESERVED:
        return False
    rest = name.removeprefix(PREFIX)
    return "_" in rest or rest.lower() in SECTIONS


def _leaves(document: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    """The keys of the sections with their values; other top-level values and empty tables as they are."""
    for name, value in document.items():
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                yield (name, key), inner
        else:
            yield (name,), value


def _decode(content: bytes, name: str) -> str:
    if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ConfigurationError(
            "begins with a byte order mark", where=f"{name}:1", hint="Save it as UTF-8 without one."
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            "is not UTF-8 text", where=f"{name}:{line}", hint="Save it as UTF-8."
        ) from None


_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def _parse(text: str, name: str) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigurationError(
            "is nested too deeply", where=name, hint="Tables are nested two levels deep at most."
        ) from None
    except ValueError as error:
        _refuse_toml(text, name, str(error))


def _refuse_toml(text: str, name: str, reason: str) -> NoReturn:
    position = _POSITION.search(reason)
    where = name
    if position is not None:
        line = position[1] or text.rstrip("\n").count("\n") + 1
        where = f"{name}:{line}"
        reason = reason[: position.start()]
    raise ConfigurationError(
        f"is not TOML: {reason}",
        where=where,
        hint="Strings need quotes and lists need brackets: see https://toml.io.",
    )
