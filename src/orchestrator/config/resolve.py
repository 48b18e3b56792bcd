"""Combines the values of all sources into the settings in force. Pure: no file, no environment."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NoReturn

from orchestrator.config.approval import Approval, ApprovalItem, canonical
from orchestrator.config.kinds import Host, Invalid
from orchestrator.config.layers import Given, Origin, find_nearest
from orchestrator.config.settings import SECTIONS, TABLE, Setting, Settings, is_approval_needed
from orchestrator.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One setting in force and its source, for display."""

    key: str
    value: object
    """As it was written; None when it has no default and was not set."""
    source: str
    """`orchestrator.toml:12`, the user's file with its line, a variable, a flag, or `default`."""
    origin: Origin | Literal["default"] = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSettings:
    settings: Settings
    rows: tuple[Row, ...]
    """Every setting, in the order of the reference."""
    needing_approval: tuple[ApprovalItem, ...] = ()
    """The values of the repository's file that need approval, approved or not, in the order of the file."""
    repository_file: bytes | None = None
    """The repository's file as it was read; a run stores it and is resumed with it."""

    @property
    def unapproved(self) -> tuple[ApprovalItem, ...]:
        """The values that were left out because the user has not approved them."""
        return tuple(each for each in self.needing_approval if not each.approved)

    @property
    def sources(self) -> Mapping[str, str]:
        return MappingProxyType({row.key: row.source for row in self.rows})


def resolve(
    givens: Iterable[Given],
    host: Host,
    approval: Approval,
    contents: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> LoadedSettings:
    """Combine the given values: a later one replaces an earlier one, also if it is a list.

    Values that need approval and do not have it are left out. `contents` holds, by key, the lines of files
    that settings of the repository's file name; they are approved together with the name. Raises
    ConfigurationError for the first value that is not valid.
    """
    rows = {key: Row(key=key, value=each.written, source="default") for key, each in TABLE.items()}
    values: dict[str, object] = {}
    needing_approval: list[ApprovalItem] = []
    for given in givens:
        setting = _find_setting(given)
        if setting is None:
            continue
        value = _read_value(setting, given, host)
        if given.origin == "repository" and is_approval_needed(setting, value):
            item = _approval_item(setting, given, approval, contents.get(setting.key, ()))
            needing_approval.append(item)
            # Left out here, before any value is used: values of a repository that the user has not approved
            # decide nothing.
            if not item.approved:
                continue
        values[setting.key] = value
        rows[setting.key] = Row(key=setting.key, value=given.value, source=given.where, origin=given.origin)
    return LoadedSettings(
        settings=_build_settings(values),
        rows=tuple(rows.values()),
        needing_approval=tuple(needing_approval),
    )


_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SETTINGS = {tuple(key.split(".")): setting for key, setting in TABLE.items()}


def _find_setting(given: Given) -> Setting | None:
    """The setting of this key; None for an empty section. Raises ConfigurationError for an unknown key."""
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
    meant = find_nearest(key, TABLE if len(given.key) > 1 else [*SECTIONS, *TABLE])
    if meant is not None:
        hint = f"Did you mean `{meant}`?"
    elif given.key[0] in SECTIONS:
        hint = _keys_of(given.key[0])
    else:
        names = dict.fromkeys(path[0] for path in _SETTINGS)
        hint = f"The sections are {', '.join(f'`{name}`' for name in names)}."
    raise ConfigurationError(f"unknown setting `{_show_key(given.key)}`", where=given.where, hint=hint)


def _keys_of(section: str) -> str:
    keys = [key.partition(".")[2] for key in TABLE if key.startswith(f"{section}.")]
    return f"[{section}] has {', '.join(f'`{key}`' for key in keys)}."


def _show_key(key: tuple[str, ...]) -> str:
    """A key as it is written in TOML, on one short line."""
    written = ".".join(part if _BARE.fullmatch(part) else f'"{part}"' for part in key)
    printed = "".join(character if character.isprintable() else "�" for character in written)
    return printed if len(printed) <= 80 else f"{printed[:80]}…"


def _read_value(setting: Setting, given: Given, host: Host) -> object:
    try:
        return setting.kind.read(given.value, host)
    except Invalid as error:
        where = given.where
        if error.item is not None and error.item < len(given.item_where):
            where = given.item_where[error.item]
        raise ConfigurationError(
            f"`{setting.key}` {error}",
            where=where,
            hint=_describe_setting(setting, str(error)),
        ) from None


def _describe_setting(setting: Setting, reason: str) -> str:
    takes = "" if setting.kind.text in reason else f"It takes {setting.kind.text}. "
    default = "" if setting.written is None else f" Default: {json.dumps(setting.written)}."
    return f"{takes}{setting.text}{default}"


def _approval_item(
    setting: Setting, given: Given, approval: Approval, content: tuple[str, ...]
) -> ApprovalItem:
    value = [given.value, *content] if content else given.value
    when = "" if setting.trust.when == "always" else f"{setting.trust.when}, "
    return ApprovalItem(
        key=setting.key,
        value=value,
        where=given.where,
        reason=f"{when}because {setting.trust.reason}",
        approved=approval.covers(setting.key, value),
        before=approval.values.get(setting.key),
    )


def refuse_unapproved(loaded: LoadedSettings, host: Host) -> None:
    """Raise ConfigurationError for the first value that is not approved, with the approved value if any."""
    if not loaded.unapproved:
        return
    first = loaded.unapproved[0]
    if first.before is None:
        what = f"`{first.key}` needs your approval, {first.reason}"
    else:
        what = (
            f"`{first.key}` has changed since you approved it"
            f"\n- {excerpt(canonical(first.before))}\n+ {excerpt(canonical(first.value))}"
        )
    if len(loaded.unapproved) > 1:
        what += f"\nand {len(loaded.unapproved) - 1} more"
    raise ConfigurationError(
        what,
        where=first.where,
        hint="Review and approve the values: orchestrator trust\n"
        f"Or move the setting to your own file, {host.user_file}, or pass it with -c.",
    )


def excerpt(text: str) -> str:
    """The text, printable and of bounded length."""
    printed = "".join(character if character.isprintable() else "�" for character in text)
    return printed if len(printed) <= 300 else f"{printed[:300]}…"


def _build_settings(values: Mapping[str, object]) -> Settings:
    outer: dict[str, Any] = {key: value for key, value in values.items() if key in TABLE and "." not in key}
    for section, make in SECTIONS.items():
        inner = {
            key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{section}.")
        }
        outer[section] = make(**inner)
    return Settings(**outer)
