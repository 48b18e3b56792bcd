"""From what the sources give to the settings in force. Pure: no file, no environment."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from orchestrator.config.approval import Approval, Trusted, canonical
from orchestrator.config.kinds import Host, Invalid
from orchestrator.config.layers import Given, nearest
from orchestrator.config.settings import SECTIONS, TABLE, Setting, Settings, needs_trust
from orchestrator.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One setting for a person to read."""

    key: str
    value: object
    """As it was written; None for none."""
    source: str
    """`orchestrator.toml:12`, a file of the user's with its line, a variable, a flag, or `default`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSettings:
    settings: Settings
    rows: tuple[Row, ...]
    """Every setting, in the order of the reference."""
    trusted: tuple[Trusted, ...] = ()
    """What of the repository's file counts only with approval, in the file's order, approved or not."""
    repository_file: bytes | None = None
    """The repository's file as it was read, for the record of what was in force."""

    @property
    def untrusted(self) -> tuple[Trusted, ...]:
        """What was left out because nobody has approved it."""
        return tuple(each for each in self.trusted if not each.approved)

    @property
    def sources(self) -> Mapping[str, str]:
        return MappingProxyType({row.key: row.source for row in self.rows})


def resolve(
    givens: Iterable[Given],
    host: Host,
    approval: Approval,
    contents: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> LoadedSettings:
    """Later ones win, lists are replaced; what needs approval and has none is left out.

    `contents` holds, by key, the lines of files that settings of the repository's file name; they are
    approved together with the name. Raises ConfigurationError for the first that cannot stand.
    """
    rows = {key: Row(key=key, value=each.written, source="default") for key, each in TABLE.items()}
    values: dict[str, object] = {}
    trusted: list[Trusted] = []
    for given in givens:
        setting = _setting(given)
        if setting is None:
            continue
        value = _value(setting, given, host)
        if given.origin == "repository" and needs_trust(setting, value):
            trusted.append(_weighed(setting, given, approval, contents.get(setting.key, ())))
            if not trusted[-1].approved:
                continue
        values[setting.key] = value
        rows[setting.key] = Row(key=setting.key, value=given.value, source=given.where)
    return LoadedSettings(settings=_built(values), rows=tuple(rows.values()), trusted=tuple(trusted))


_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SETTINGS = {tuple(key.split(".")): setting for key, setting in TABLE.items()}


def _setting(given: Given) -> Setting | None:
    """The setting that is meant; None for an empty section."""
    if given.key in _SETTINGS:
        return _SETTINGS[given.key]
    first = given.key[0]
    if given.key == (first,) and first in SECTIONS:
        if given.value == {}:
            return None
        raise ConfigurationError(
            f"`{first}` is a section, not a value", where=given.where, hint=_keys_of(first)
        )
    if (first,) in _SETTINGS:
        raise ConfigurationError(
            f"`{first}` is a list of tables", where=given.where, hint=f"Write [[{first}]]."
        )
    _refuse_unknown(given)


def _refuse_unknown(given: Given) -> NoReturn:
    key = ".".join(given.key)
    meant = nearest(key, TABLE if len(given.key) > 1 else [*SECTIONS, *TABLE])
    if meant is not None:
        hint = f"Did you mean `{meant}`?"
    elif given.key[0] in SECTIONS:
        hint = _keys_of(given.key[0])
    else:
        hint = f"There are {', '.join(f'`{name}`' for name in dict.fromkeys(path[0] for path in _SETTINGS))}."
    raise ConfigurationError(f"unknown setting `{_shown(given.key)}`", where=given.where, hint=hint)


def _keys_of(section: str) -> str:
    keys = [key.partition(".")[2] for key in TABLE if key.startswith(f"{section}.")]
    return f"[{section}] has {', '.join(f'`{key}`' for key in keys)}."


def _shown(key: tuple[str, ...]) -> str:
    """A key as one would write it, on one short line."""
    written = ".".join(part if _BARE.fullmatch(part) else f'"{part}"' for part in key)
    printed = "".join(character if character.isprintable() else "�" for character in written)
    return printed if len(printed) <= 80 else f"{printed[:80]}…"


def _value(setting: Setting, given: Given, host: Host) -> object:
    try:
        return setting.kind.read(given.value, host)
    except Invalid as error:
        where = given.where
        if error.item is not None and error.item < len(given.item_where):
            where = given.item_where[error.item]
        raise ConfigurationError(
            f"`{setting.key}` {error}",
            where=where,
            hint=_about(setting, str(error)),
        ) from None


def _about(setting: Setting, said: str) -> str:
    takes = "" if setting.kind.text in said else f"It takes {setting.kind.text}. "
    default = "" if setting.written is None else f" Default: {json.dumps(setting.written)}."
    return f"{takes}{setting.text}{default}"


def _weighed(setting: Setting, given: Given, approval: Approval, content: tuple[str, ...]) -> Trusted:
    value = [given.value, *content] if content else given.value
    when = "" if setting.trust.when == "always" else f"{setting.trust.when}, "
    return Trusted(
        key=setting.key,
        value=value,
        where=given.where,
        reason=f"{when}because {setting.trust.reason}",
        approved=approval.covers(setting.key, value),
        before=approval.values.get(setting.key),
    )


def refuse_untrusted(loaded: LoadedSettings, host: Host) -> None:
    """Raises ConfigurationError for the first value that nobody has approved, with what was approved."""
    if not loaded.untrusted:
        return
    first = loaded.untrusted[0]
    if first.before is None:
        what = f"`{first.key}` needs your approval, {first.reason}"
    else:
        what = (
            f"`{first.key}` was changed since you approved it"
            f"\n- {excerpt(canonical(first.before))}\n+ {excerpt(canonical(first.value))}"
        )
    if len(loaded.untrusted) > 1:
        what += f"\nand {len(loaded.untrusted) - 1} more"
    raise ConfigurationError(
        what,
        where=first.where,
        hint="See all of it and approve it: orchestrator trust\n"
        f"Or take it out of the file and put it into your own, {host.user_file}, or give it with -c.",
    )


def excerpt(text: str) -> str:
    """Printable and of bounded length; line breaks as they are written in TOML."""
    printed = "".join(character if character.isprintable() else "�" for character in text)
    return printed if len(printed) <= 300 else f"{printed[:300]}…"


def _built(values: Mapping[str, object]) -> Settings:
    outer: dict[str, Any] = {key: value for key, value in values.items() if key in TABLE and "." not in key}
    for section, make in SECTIONS.items():
        inner = {
            key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{section}.")
        }
        outer[section] = make(**inner)
    return Settings(**outer)
