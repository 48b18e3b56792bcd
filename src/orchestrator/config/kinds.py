"""The kinds of values that a setting can have: which values are accepted, and how they are converted."""

import math
import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

YEAR_SECONDS = 365 * 24 * 3600


class Invalid(ValueError):
    """Why a value is refused, worded so that it follows the name of the setting: "must be …".

    `item` is the index of the item that is wrong, for a value that is a list.
    """

    def __init__(self, reason: str, *, item: int | None = None) -> None:
        super().__init__(reason)
        self.item = item


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Facts about this machine that decide what a value means."""

    home: Path
    sockets: tuple[str, ...] = ()
    """Where container engines listen. They are never mounted: a container could control the engine."""
    user_file: str = "the user's file"
    """The path of the user's configuration file, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[T]):
    text: str
    """The accepted values in words, for the reference and for messages: "a whole number from 1"."""
    parse: Callable[[object], T]
    """Returns the value or raises Invalid."""
    locate: Callable[[T, Host], T] | None = None
    """Resolves a value that names files or folders of this machine, or raises Invalid."""
    bare: bool = False
    """In a variable or after `-c`, a text that looks like a number or a list still means the text itself."""

    def read(self, written: object, host: Host) -> T:
        value = self.parse(written)
        return value if self.locate is None else self.locate(value, host)


def show_value(value: object) -> str:
    """A refused value in a few words."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f"{value[:40]!r}…" if len(value) > 40 else repr(value)
        case int() if value.bit_length() > 128:
            return "a huge number"
        case int() | float():
            return str(value)
        case list():
            return "a list"
        case dict():
            return "a table"
        case date() | time():
            return "a date or time"
        case _:
            return type(value).__name__


def _invalid(text: str, value: object) -> Invalid:
    return Invalid(f"must be {text}, not {show_value(value)}")


def _plain_kind(text: str, accepts: Callable[[Any], bool], *, bare: bool = False) -> Kind[Any]:
    """A kind whose values need no conversion."""

    def parse(value: object) -> Any:
        if not accepts(value):
            raise _invalid(text, value)
        return value

    return Kind(text=text, parse=parse, bare=bare)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(minimum: int, maximum: int) -> Kind[int]:
    text = f"a whole number from {minimum} to {maximum}"

    def parse(value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise _invalid(text, value)
        return value

    return Kind(text=text, parse=parse)


def seconds() -> Kind[float]:
    text = "a number of seconds above 0, at most a year"

    def parse(value: Any) -> float:
        if not _is_number(value) or not 0 < value <= YEAR_SECONDS:
            raise _invalid(text, value)
        return float(value)

    return Kind(text=text, parse=parse)


def flag() -> Kind[bool]:
    return _plain_kind("true or false", lambda value: isinstance(value, bool))


def processors() -> Kind[float | None]:
    text = 'a number from 0.01, or "all"'

    def parse(value: Any) -> float | None:
        if value == "all":
            return None
        if not _is_number(value) or not 0.01 <= value <= 4096:
            raise _invalid(text, value)
        return float(value)

    return Kind(text=text, parse=parse)


def line() -> Kind[str]:
    return Kind(text="a string", parse=_line, bare=True)


def subject_template() -> Kind[str]:
    """A template of a commit's first line: `{task}` is replaced by the task's id, `{title}` by its title."""

    def parse(value: object) -> str:
        text = _line(value)
        rest = text.replace("{task}", "").replace("{title}", "")
        if rest == text:
            raise Invalid("must contain `{task}` or `{title}`")
        if "{" in rest or "}" in rest:
            raise Invalid("may contain no braces but `{task}` and `{title}`")
        if text.lstrip().startswith("#"):
            raise Invalid("must not start with #, which makes it a comment for git")
        return text

    return Kind(text="a line with `{task}` or `{title}`", parse=parse, bare=True)


def optional(kind: Kind[T]) -> Kind[T | None]:
    """A kind whose value may be None, which no file, variable or flag can express."""

    def parse(value: object) -> T | None:
        return None if value is None else kind.parse(value)

    def locate(value: T | None, host: Host) -> T | None:
        return value if value is None or kind.locate is None else kind.locate(value, host)

    return Kind(text=kind.text, parse=parse, locate=locate, bare=kind.bare)


def choice(*names: str) -> Kind[Any]:
    """One of the given names; the type of the field has to list the same ones."""
    text = " or ".join(f'"{name}"' for name in names)
    return _plain_kind(text, lambda value: isinstance(value, str) and value in names, bare=True)


def _list_of(text: str, fault: Callable[[str], str | None]) -> Kind[tuple[str, ...]]:
    """A list of strings. `fault` returns why an item is refused, or None."""

    def parse(value: object) -> tuple[str, ...]:
        items = _strings(value)
        for index, item in enumerate(items):
            if (reason := fault(item)) is not None:
                raise Invalid(reason, item=index)
        return items

    return Kind(text=text, parse=parse)


def words() -> Kind[tuple[str, ...]]:
    """The words of one command line."""
    text = "a list of strings"

    def parse(value: object) -> tuple[str, ...]:
        items = _strings(value)
        if items and not items[0].strip():
            raise Invalid("must begin with the name of a program", item=0)
        return items

    return Kind(text=text, parse=parse)


def blocks() -> Kind[tuple[str, ...]]:
    """Shell commands, each of one or more lines."""
    empty = "must not contain an empty command"
    return _list_of("a list of shell commands (strings)", lambda item: None if item.strip() else empty)


def inner_paths() -> Kind[tuple[str, ...]]:
    text = "a list of paths relative to the code folder"
    return _list_of(
        text, lambda item: None if is_inside(item) else f"must be {text}, but contains {show_value(item)}"
    )


def paths_to_mask() -> Kind[tuple[str, ...]]:
    """Normalised paths in the code folder, outside of `.git`."""
    paths = inner_paths()

    def parse(value: object) -> tuple[str, ...]:
        items = tuple(posixpath.normpath(item) for item in paths.parse(value))
        for index, item in enumerate(items):
            if item.partition("/")[0].lower() == ".git":
                raise Invalid("must not contain .git, because the agent needs it", item=index)
        return items

    return Kind(text=paths.text, parse=parse)


_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[A-Za-z0-9.+~:-]+)?")


def packages() -> Kind[tuple[str, ...]]:
    text = "a list of Debian packages, each `name` or `name=version`"

    def fault(item: str) -> str | None:
        return None if _PACKAGE.fullmatch(item) else f"must be {text}, but contains {show_value(item)}"

    return _list_of(text, fault)


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_SECRET_WORD = re.compile(
    r"((PAT|JWT|BEARER|CREDS)|(?!.*(BY|COM|TRES)PASS)"
    r".*(PASS|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|(?<!MON)KEY))S?"
)
_OURS = ("HOME", "IS_SANDBOX")


def variables() -> Kind[tuple[tuple[str, str], ...]]:
    """Names and values in the order of the table, as tuples, because settings are immutable."""
    text = 'a table of strings, such as { TZ = "UTC" }'

    def parse(value: object) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, dict):
            raise _invalid(text, value)
        return tuple((_variable_name(name), _variable_value(name, item)) for name, item in value.items())

    return Kind(text=text, parse=parse)


def _variable_name(name: str) -> str:
    if _VARIABLE.fullmatch(name) is None:
        raise Invalid(f"contains {show_value(name)}, which cannot be the name of a variable")
    if name in _OURS or name.startswith("ORCHESTRATOR_"):
        raise Invalid(f"must not set {name}, which the orchestrator sets itself")
    if looks_like_secret(name):
        raise Invalid(
            f"contains {name}, which looks like a secret: agents and gates must not have secrets, "
            "and this setting is stored and printed in several places"
        )
    return name


def _variable_value(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise Invalid(f"needs a string for {name}, not {show_value(value)}")
    if not is_printable(value, also="\n\t"):
        raise Invalid(f"needs UTF-8 text without control characters for {name}")
    return value


def looks_like_secret(name: str) -> bool:
    """Whether a variable of this name usually holds a secret, as API_TOKEN and PGPASSWORD do."""
    words = re.split(r"_|\d+", name.upper())
    if words[-1] in ("PWD", "AUTH") and len(words) > 1:
        return True
    public = (
        words[-2:-1] in (["PUBLIC"], ["SORT"], ["CACHE"], ["PRIMARY"], ["PARTITION"]) and words[-1] == "KEY"
    )
    return not public and any(_SECRET_WORD.fullmatch(word) for word in words)


# A variable of these names can make a gate run other code than the candidate's, or find a program that always
# succeeds. Whole families are listed, because tools keep adding members. Excepted, in the first part, are
# members that only set how much a tool prints, or who the author of a commit is.
_STEERING = re.compile(
    r"""(?! (?:
        GIT_(?:AUTHOR|COMMITTER)_\w+ | NODE_ENV | CARGO_TERM_\w+ | CARGO_INCREMENTAL |
        PYTHON(?:UNBUFFERED|DONTWRITEBYTECODE|HASHSEED|IOENCODING|UTF8|FAULTHANDLER)
    ) $ ) (?:
        PATH | IFS | ENV | SHELL | BASH_\w+ | SHELLOPTS | BASHOPTS | PS4 | PROMPT_COMMAND | XDG_\w+ |
        LD_\w+ | GLIBC_TUNABLES | GCONV_PATH | LOCPATH | TMPDIR | GIT_\w+ | (?:GNU)?MAKE(?:FLAGS|FILES) |
        \w+_PROXY | SSL_CERT_\w+ | REQUESTS_CA_BUNDLE | CURL_\w+ | WGETRC | PYTHON\w+ | PYTEST_\w+ |
        TOX_\w+ | NOX_\w+ | COVERAGE_\w+ | PIP_\w+ | UV_\w+ | VIRTUAL_ENV | NODE_\w+ | NPM_\w+ | YARN_\w+
        | PNPM_\w+ | COREPACK_\w+ | (?:MOCHA|JEST|VITEST)_\w+ | PERL5\w+ | RUBY(?:OPT|LIB) | BUNDLE_\w+ |
        GEM_\w+ | RAKE\w+ | RSPEC\w* | SPEC_OPTS | \w*JAVA_\w+ | MAVEN_\w+ | GRADLE_\w+ | DOTNET_\w+ |
        LUA_\w+ | PHPRC | PHP_\w+ | R_PROFILE\w* |
        GO(?:FLAGS|PATH|ROOT|ENV|BIN|TOOLCHAIN|PROXY|(?:NO)?SUMDB|INSECURE|PRIVATE|NOPROXY|WORK|\w*CACHE|
        DEBUG|VCS) | RUST(?:C|UP|DOC|FLAGS)\w* | CARGO_\w+ | (?:C|CXX|CPP|LD)FLAGS | CC | CXX | LD | AR
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def steers_programs(name: str) -> bool:
    """Whether a variable can make the programs of a gate load, run or find other code."""
    return _STEERING.fullmatch(name) is not None


_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SMALLEST_MEMORY = 6 << 20  # what the engine accepts
_LARGEST_MEMORY = 1 << 60


def memory() -> Kind[int]:
    text = 'a size such as "512m" or "4g" (multiples of 1024), at least "6m"'

    def parse(value: object) -> int:
        size = _bytes(value)
        if size is None or not _SMALLEST_MEMORY <= size <= _LARGEST_MEMORY:
            raise _invalid(text, value)
        return size

    return Kind(text=text, parse=parse)


_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,255}")


def image() -> Kind[str]:
    def accepts(value: object) -> bool:
        return isinstance(value, str) and _IMAGE.fullmatch(value) is not None

    return _plain_kind("the name of an image, such as name:tag", accepts, bare=True)


def file() -> Kind[Path]:
    text = "the path of a file: absolute, below ~, or relative to the code folder"

    def locate(path: Path, host: Host) -> Path:
        return Path(expand_home(str(path), host))

    return Kind(text=text, parse=lambda value: Path(_line(value)), locate=locate, bare=True)


def web_address() -> Kind[str]:
    text = "an address that begins with http:// or https://"

    def parse(value: object) -> str:
        address = _line(value)
        try:
            parts = urlsplit(address)
            usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable or re.search(r"\s", address):
            raise _invalid(text, value)
        if parts.username is not None or parts.query or parts.fragment:
            raise Invalid("must be an address without user name, password, query or fragment")
        return address.rstrip("/")

    return Kind(text=text, parse=parse, bare=True)


def keyring_service() -> Kind[str]:
    text = '"keyring:SERVICE", where SERVICE is the name of an entry of your keyring'

    def parse(value: object) -> str:
        source = _line(value)
        if not source.removeprefix("keyring:").strip() or not source.startswith("keyring:"):
            raise _invalid(text, value)
        return source

    return Kind(text=text, parse=parse, bare=True)


def expand_home(path: str, host: Host) -> str:
    """The path with a leading `~` or `${HOME}` replaced."""
    for mark in ("~", "${HOME}", "$HOME"):
        if path == mark or path.startswith(f"{mark}/"):
            return f"{host.home}{path[len(mark) :]}"
    return path


def is_inside(path: str) -> bool:
    """Whether a path, as it is written, stays in the folder to which it is relative."""
    return not path.startswith(("/", "~", "$")) and ".." not in path.split("/") and path.strip("./") != ""


def is_printable(value: str, *, also: str = "") -> bool:
    """Whether a text has no control characters and no lone surrogates (bytes of another encoding)."""
    return all(
        character in also or (character >= " " and character != "\x7f") for character in value
    ) and not any("\ud800" <= character <= "\udfff" for character in value)


def _line(value: object) -> str:
    if not isinstance(value, str):
        raise _invalid("a string", value)
    if not value.strip():
        raise Invalid("must not be empty")
    if not is_printable(value):
        raise Invalid("must be one line of UTF-8 text without control characters")
    return value


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _invalid('a list of strings, such as ["a", "b"]', value)
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise Invalid(f"must be a list of strings, but contains {show_value(item)}", item=index)
        if not is_printable(item, also="\n\t"):
            raise Invalid("must contain UTF-8 text without control characters", item=index)
    return tuple(value)


def _bytes(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    return math.floor(float(found[1]) * _UNITS[found[2].lower()])
