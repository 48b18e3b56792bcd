"""Every setting there is: name, default, kind, meaning, and whether the repository's file may choose it.

The repository's file can be written by an agent and by a stranger. A setting that runs commands on the host,
mounts host paths, chooses the image or a credential or where it is sent, or weakens a wall or a limit is
therefore taken from it only as far as its line below says. Adding a setting is adding a line.
"""

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, assert_never

from orchestrator.config.checks import CheckSetting, check_list
from orchestrator.config.kinds import (
    Host,
    Kind,
    blocks,
    choice,
    file,
    flag,
    image,
    inner_paths,
    is_inside,
    line,
    masked_paths,
    memory,
    optional,
    packages,
    processors,
    seconds,
    steers_programs,
    variables,
    web_address,
    whole,
    words,
)
from orchestrator.config.mounts import MountSetting, mount_list

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """When a value in the repository's file needs the user's approval, and why."""

    when: Literal[
        "never", "always", "above the default", "below the default", "outside the folder", "steers programs"
    ]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    key: str
    """`section.name`, or `name` for a list of the top level."""
    default: object
    """As the program uses it."""
    written: object
    """The default as a person would write it; None for none."""
    kind: Kind[Any]
    text: str
    trust: Trust


def never(reason: str) -> Trust:
    return Trust(when="never", reason=reason)


def always(reason: str) -> Trust:
    return Trust(when="always", reason=reason)


def at_most_default(reason: str) -> Trust:
    return Trust(when="above the default", reason=reason)


def at_least_default(reason: str) -> Trust:
    return Trust(when="below the default", reason=reason)


def inside(reason: str) -> Trust:
    return Trust(when="outside the folder", reason=reason)


def harmless(reason: str) -> Trust:
    return Trust(when="steers programs", reason=reason)


def needs_trust(setting: Setting, value: object) -> bool:
    """Whether this parsed value of the repository's file counts only with the user's approval."""
    if value == setting.default:
        return False
    match setting.trust.when:
        case "never":
            return False
        case "always":
            return True
        case "above the default":
            return _size(value) > _size(setting.default)
        case "below the default":
            return _size(value) < _size(setting.default)
        case "outside the folder":
            return not is_inside(str(value))
        case "steers programs":
            assert isinstance(value, tuple)
            return any(steers_programs(name) for name, _ in value)
        case when:
            assert_never(when)


def _size(value: object) -> float:
    """None stands for "all of it"."""
    if value is None:
        return float("inf")
    assert isinstance(value, int | float)
    return value


_ANYWHERE = Host(home=Path("/"))
_IN_CONTAINER = "it runs inside the container"
_SPENDS = "a higher one spends more than the user agreed to"


def setting(written: object, kind: Kind[T], text: str, trust: Trust) -> T:
    """A field of a section with its default as a person would write it."""
    default = kind.read(written, _ANYWHERE)
    metadata = {"written": written, "kind": kind, "text": text, "trust": trust}
    declared: Any = field(default=default, metadata=metadata)
    return declared  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    name: str = setting(
        "claude-code",
        line(),
        "The agent driver: `claude-code`, `command` (any program) or `nop` (does nothing).",
        never(_IN_CONTAINER),
    )
    command: tuple[str, ...] = setting(
        [],
        words(),
        "The program of the `command` driver, word by word; the prompt is on its stdin.",
        never(_IN_CONTAINER),
    )
    model: str | None = setting(
        None,
        optional(line()),
        "The model the agent is told to use; without it the agent's own default.",
        never("every model is reached with the same credential at the same place"),
    )
    max_turns: int = setting(
        100,
        whole(1, 100_000),
        "Turns of the model in one attempt, for agents that can count them.",
        at_most_default(_SPENDS),
    )
    min_tool_calls: int = setting(
        1,
        whole(0, 1000),
        "Tool calls without which “done” is not believed (CODING and MIXED tasks, agents that show them).",
        at_least_default("a lower one weakens the check on what an agent claims"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    attempts: int = setting(
        3, whole(1, 1000), "Attempts at a task before it has failed.", at_most_default(_SPENDS)
    )
    attempt_seconds: float = setting(
        14400, seconds(), "How long one attempt may take before it is ended.", at_most_default(_SPENDS)
    )
    output_bytes: int = setting(
        1_000_000_000,
        whole(1, 1_000_000_000_000),
        "What an attempt may print before it is ended; it is all stored.",
        at_most_default("a higher one fills the user's disk"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    name: str = setting(
        "ktrdr-coding-agent:latest",
        image(),
        "The image of attempts and gates.",
        always("it chooses the programs that agent and gates are made of"),
    )
    packages: tuple[str, ...] = setting(
        [],
        packages(),
        "Debian packages that are installed on top of the image.",
        always("what they install runs as root while the image is built"),
    )
    dockerfile: Path | None = setting(  # noqa: RUF009 - it declares a field
        None,
        optional(file()),
        "A Dockerfile that starts `FROM` the image; the folder it lies in is the build context.",
        always("what it says runs as root while the image is built"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    memory: int = setting(
        "4g", memory(), "Memory and swap together.", at_most_default("a higher one takes more of the machine")
    )
    cpus: float | None = setting(
        "all",
        processors(),
        "How many processors' worth of time.",
        at_most_default("a higher one takes more of the machine"),
    )
    pids: int = setting(
        512,
        whole(1, 4_194_304),
        "How many processes and threads at once.",
        at_most_default("a higher one weakens the wall against fork bombs"),
    )
    network: Literal["open"] = setting(
        "open",
        choice("open"),
        "`open`: the engine's default bridge, with the host as `host.docker.internal`.",
        never("the default is the widest there is"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    commands: tuple[str, ...] = setting(
        [],
        blocks(),
        "Commands that install what the project depends on, once for each state of its lock files.",
        never(_IN_CONTAINER),
    )
    discover: bool = setting(
        True,
        flag(),
        "Whether setup commands are found by lock files where none are configured.",
        never(_IN_CONTAINER),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    task: tuple[str, ...] = setting(
        [],
        blocks(),
        "Commands that every task must pass besides its own, run by `bash`.",
        never(_IN_CONTAINER),
    )
    milestone: tuple[str, ...] = setting(
        [], blocks(), "Commands that the milestone must pass after its last task.", never(_IN_CONTAINER)
    )
    build: tuple[str, ...] = setting(
        [],
        blocks(),
        "Commands that build the project, run in every gate container before the first check.",
        never(_IN_CONTAINER),
    )
    timeout: float = setting(
        600,
        seconds(),
        "How long one command may take before it has failed.",
        never("it costs time and no money"),
    )
    smoke_tests: bool = setting(
        False,
        flag(),
        "Whether the smoke tests of a plan's tasks are verify commands too.",
        never(_IN_CONTAINER),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    required_files: tuple[str, ...] = setting(
        [],
        inner_paths(),
        "Files or folders of the code folder without which nothing starts.",
        never("it only looks whether they are there"),
    )
    variables: tuple[tuple[str, str], ...] = setting(
        {},
        variables(),
        "Environment variables of attempts, setup and gates; never a secret.",
        harmless("some of them make every program load or run something else, gates included"),
    )
    checks: tuple[CheckSetting, ...] = setting(
        [],
        check_list(),
        "Commands that must succeed on the host, in the code folder, before anything starts.",
        always("they run on the host, as the user"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    files: tuple[str, ...] = setting(
        [],
        masked_paths(),
        "Files or folders of the code folder that the agent sees empty and cannot write.",
        never("it hides files from the agent and shows it none"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff:
    commit: bool = setting(
        True,
        flag(),
        "Whether the hand-off document is part of each task's commit; else it lies in the state folder.",
        never("both places are the orchestrator's to write"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    scripted: Path | None = setting(  # noqa: RUF009 - it declares a field
        None,
        optional(file()),
        "A file of the scripted model, which answers in place of a real one; no credential is needed then.",
        inside("it makes the orchestrator read that file of the host"),
    )
    upstream: str | None = setting(
        None,
        optional(web_address()),
        "Where the model is reached; else the caller's `ANTHROPIC_BASE_URL`, else the provider's address.",
        always("the credential is sent there"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    agent: Agent = Agent()
    limits: Limits = Limits()
    image: Image = Image()
    container: Container = Container()
    mounts: tuple[MountSetting, ...] = setting(
        [],
        mount_list(),
        "Volumes and host folders for the coding agent container; a source may begin with `~` or `${HOME}`.",
        always("a mount shows files of the host, or a login, to the agent"),
    )
    setup: Setup = Setup()
    verify: Verify = Verify()
    environment: Environment = Environment()
    masked: Masked = Masked()
    handoff: Handoff = Handoff()
    gateway: Gateway = Gateway()


SECTIONS: Mapping[str, type] = {
    each.name: type(each.default) for each in fields(Settings) if "kind" not in each.metadata
}


def _declared(key: str, each: "Field[Any]") -> Setting:
    return Setting(key=key, default=each.default, **each.metadata)


def _table() -> dict[str, Setting]:
    table: dict[str, Setting] = {}
    for outer in fields(Settings):
        if outer.name not in SECTIONS:
            table[outer.name] = _declared(outer.name, outer)
            continue
        for inner in fields(SECTIONS[outer.name]):
            key = f"{outer.name}.{inner.name}"
            table[key] = _declared(key, inner)
    return table


TABLE: Mapping[str, Setting] = _table()
"""By key, in the order of the reference."""
