"""The setting `environment.checks`: commands on the host that must succeed before a run starts."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.config.kinds import Invalid, Kind, is_printable, show_value

_KEYS = {"run", "hint", "timeout"}
DEFAULT_SECONDS = 60.0
LONGEST_SECONDS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSetting:
    run: str
    """Run by `bash -c` in the code folder."""
    hint: str | None = None
    """A next step for the user, shown when the check fails."""
    timeout: float = DEFAULT_SECONDS
    """Seconds."""


def check_list() -> Kind[tuple[CheckSetting, ...]]:
    def parse(value: object) -> tuple[CheckSetting, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise Invalid(
                f"must be a list: write [[environment.checks]] before each, not {show_value(value)}"
            )
        found: list[CheckSetting] = []
        for index, item in enumerate(value):
            try:
                found.append(_check(item))
            except Invalid as error:
                raise Invalid(str(error), item=index) from None
        return tuple(found)

    text = f"a list of tables with `run`, `hint` and `timeout` ({DEFAULT_SECONDS:g} seconds)"
    return Kind(text=text, parse=parse)


def _check(item: object) -> CheckSetting:
    if not isinstance(item, dict):
        raise Invalid(f"must be a list of tables, but contains {show_value(item)}")
    unknown = sorted(set(item) - _KEYS)
    if unknown:
        raise Invalid(f"has the unknown key {show_value(unknown[0])}; it takes run, hint and timeout")
    run = _text(item, "run", also="\n\t")
    if run is None:
        raise Invalid("needs run, a shell command, as a string")
    return CheckSetting(run=run, hint=_text(item, "hint"), timeout=_seconds(item))


def _text(item: dict[str, object], key: str, *, also: str = "") -> str | None:
    value = item.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or not is_printable(value, also=also):
        raise Invalid(f"needs a string for {key}, not {show_value(value)}")
    return value


def _seconds(item: dict[str, object]) -> float:
    value = item.get("timeout", DEFAULT_SECONDS)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_SECONDS:
        limits = f"a number of seconds above 0, at most {LONGEST_SECONDS}"
        raise Invalid(f"needs {limits}, for timeout, not {show_value(value)}")
    return float(value)
