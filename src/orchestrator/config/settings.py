"""Every setting there is: name, default, kind, meaning, and whether the repository's file may choose it.

The repository's file can be written by an agent, or by an author whom the user does not know. So each
setting says below how far that file may choose it. A value needs the user's approval when it runs commands on
the host, mounts host paths, chooses the image, decides where the credential is sent, or weakens a barrier or
a limit. To add a setting, add a field.
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
    keyring_service,
    line,
    memory,
    optional,
    packages,
    paths_to_mask,
    processors,
    seconds,
    steers_programs,
    subject_template,
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
        "never",
        "always",
        "above the default",
        "below the default",
        "weaker than the default",
        "outside the folder",
        "steers programs",
    ]
    reason: str
    weaker: tuple[object, ...] = ()
    """The values that are weaker than the default, where that is not a matter of size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    key: str
    """`section.name`, or `name` for a list of the top level."""
    default: object
    """In the form that the program uses."""
    written: object
    """The default as it is written in TOML; None for a setting without a default."""
    kind: Kind[Any]
    text: str
    trust: Trust


def free(reason: str) -> Trust:
    return Trust(when="never", reason=reason)


def needs_approval(reason: str) -> Trust:
    return Trust(when="always", reason=reason)


def free_up_to_default(reason: str) -> Trust:
    return Trust(when="above the default", reason=reason)


def free_from_default(reason: str) -> Trust:
    return Trust(when="below the default", reason=reason)


def free_unless_weaker(reason: str, *weaker: object) -> Trust:
    return Trust(when="weaker than the default", reason=reason, weaker=weaker)


def free_inside_folder(reason: str) -> Trust:
    return Trust(when="outside the folder", reason=reason)


def free_unless_steering(reason: str) -> Trust:
    return Trust(when="steers programs", reason=reason)


def is_approval_needed(setting: Setting, value: object) -> bool:
    """Whether this value needs the user's approval when it comes from the repository's file."""
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
        case "weaker than the default":
            return value in setting.trust.weaker
        case "outside the folder":
            return not is_inside(str(value))
        case "steers programs":
            assert isinstance(value, tuple)
            return any(steers_programs(name) for name, _ in value)
        case when:
            assert_never(when)


def _size(value: object) -> float:
    """A number to compare; None means "all of it"."""
    if value is None:
        return float("inf")
    assert isinstance(value, int | float)
    return value


_ANYWHERE = Host(home=Path("/"))
_IN_CONTAINER = "it runs inside the container"
_SPENDS = "a higher value spends more than the user agreed to"


def setting(written: object, kind: Kind[T], text: str, trust: Trust) -> T:
    """Declare a field of a section, with its default as it is written in TOML."""
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
        free(_IN_CONTAINER),
    )
    command: tuple[str, ...] = setting(
        [],
        words(),
        "The program of the `command` driver, word by word; the prompt is on its stdin.",
        free(_IN_CONTAINER),
    )
    model: str | None = setting(
        None,
        optional(line()),
        "The model that the agent uses; by default the agent chooses it.",
        free("every model is reached with the same credential at the same address"),
    )
    max_turns: int = setting(
        100,
        whole(1, 100_000),
        "The most turns of the model in one attempt, for agents that can count them.",
        free_up_to_default(_SPENDS),
    )
    min_tool_calls: int = setting(
        1,
        whole(0, 1000),
        "The fewest tool calls with which “done” is accepted (CODING and MIXED tasks, agents that report "
        "them).",
        free_from_default("a lower value weakens the check of what an agent claims"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    attempts: int = setting(
        3,
        whole(1, 1000),
        "The most attempts at a task; after that it has failed.",
        free_up_to_default(_SPENDS),
    )
    failed_tasks: int = setting(
        1,
        whole(1, 1000),
        "How many tasks that name no dependencies may fail before the tasks after them no longer start.",
        free_up_to_default(_SPENDS),
    )
    attempt_seconds: float = setting(
        14400,
        seconds(),
        "How long one attempt may take, in seconds, before it is stopped.",
        free_up_to_default(_SPENDS),
    )
    after_result_seconds: float = setting(
        60,
        seconds(),
        "How long an agent that has reported its outcome may take to end, in seconds, before it is stopped. "
        "Its outcome counts.",
        free_up_to_default(_SPENDS),
    )
    outage_seconds: float = setting(
        600,
        seconds(),
        "How long the model may be away, in seconds, before the agent is stopped and the run parks. "
        "Until then the agent tries again by itself.",
        free("an agent that waits for its model spends nothing"),
    )
    keep_awake: bool = setting(
        True,
        flag(),
        "Whether the machine is kept awake, on mains power, while an attempt or a gate runs.",
        free("the machine sleeps as it does without a run"),
    )
    output_bytes: int = setting(
        1_000_000_000,
        whole(1, 1_000_000_000_000),
        "How many bytes an attempt may print before it is stopped. All of its output is stored.",
        free_up_to_default("a higher value fills the user's disk"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    name: str = setting(
        "ktrdr-coding-agent:latest",
        image(),
        "The image of attempts and gates.",
        needs_approval("it chooses the programs that the agent and the gates run"),
    )
    packages: tuple[str, ...] = setting(
        [],
        packages(),
        "Debian packages that are installed on top of the image.",
        needs_approval("their installation scripts run as root while the image is built"),
    )
    dockerfile: Path | None = setting(  # noqa: RUF009 - it declares a field
        None,
        optional(file()),
        "A Dockerfile whose `FROM` is the image. Its folder is the build context.",
        needs_approval("its commands run as root while the image is built"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    memory: int = setting(
        "4g",
        memory(),
        "The most memory, swap included.",
        free_up_to_default("a higher value takes more of the machine"),
    )
    cpus: float | None = setting(
        "all",
        processors(),
        "How many processors the container may use.",
        free_up_to_default("a higher value takes more of the machine"),
    )
    pids: int = setting(
        512,
        whole(1, 4_194_304),
        "The most processes and threads at the same time.",
        free_up_to_default("a higher value weakens the protection against fork bombs"),
    )
    network: Literal["open"] = setting(
        "open",
        choice("open"),
        "`open`: the engine's default bridge, with the host as `host.docker.internal`.",
        free("every other value is stricter than the default"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    commands: tuple[str, ...] = setting(
        [],
        blocks(),
        "Commands that install the project's dependencies. They run once for each state of its lock files.",
        free(_IN_CONTAINER),
    )
    discover: bool = setting(
        True,
        flag(),
        "Whether setup commands are chosen by the lock files found, when `commands` is empty.",
        free(_IN_CONTAINER),
    )
    folders: tuple[str, ...] = setting(
        [],
        inner_paths(),
        "Folders below the root whose lock files are found too; their commands run there.",
        free(_IN_CONTAINER),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    task: tuple[str, ...] = setting(
        [],
        blocks(),
        "Commands that every task must pass in addition to its own, run by `bash`.",
        free(_IN_CONTAINER),
    )
    milestone: tuple[str, ...] = setting(
        [], blocks(), "Commands that the milestone must pass after its last task.", free(_IN_CONTAINER)
    )
    build: tuple[str, ...] = setting(
        [],
        blocks(),
        "Commands that build the project. They run in every gate container before the first check.",
        free(_IN_CONTAINER),
    )
    timeout: float = setting(
        600,
        seconds(),
        "How long one command may take, in seconds, before it fails.",
        free("it costs time but no money"),
    )
    require: bool = setting(
        False,
        flag(),
        "Whether to refuse a run in which a task has no verify command.",
        free("it only refuses"),
    )
    base: Literal["green", "no_worse", "any"] = setting(
        "green",
        choice("green", "no_worse", "any"),
        "What `verify.task` must say before the work. `green`: every command succeeds. `no_worse`: one that "
        "fails counts as passed as long as it fails in the same way. `any`: no condition.",
        free_unless_weaker("a guard that fails no longer stops the run", "no_worse", "any"),
    )
    red_to_green: bool = setting(
        True,
        flag(),
        "Whether the commands of a task that have passed run once more on the code from before the work, "
        "where they have to fail to prove anything.",
        free_unless_weaker("without it, nothing shows that a command would fail without the work", False),
    )
    strict: bool = setting(
        False,
        flag(),
        "Whether a task of the type CODING or MIXED, or without a type, is accepted only if one of its "
        "commands fails without its work.",
        free("it only refuses"),
    )
    discover: bool = setting(
        True,
        flag(),
        "Whether the project's own tests check the tasks that nothing else checks. They have to pass before "
        "the work.",
        free_unless_weaker("tasks that nothing else checks would have no check", False),
    )
    flaky: Literal["majority", "fail"] = setting(
        "majority",
        choice("majority", "fail"),
        "What a new failure of a command means. `majority`: it runs again, and if it passes then, a third "
        "run decides. `fail`: it has failed.",
        free("both are strict: a failure that stays a failure counts"),
    )
    fail_fast: bool = setting(
        False,
        flag(),
        "Whether the commands after the first one that fails are not run.",
        free(_IN_CONTAINER),
    )
    smoke_tests: bool = setting(
        False,
        flag(),
        "Whether the smoke tests of a plan's tasks are also verify commands.",
        free(_IN_CONTAINER),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    required_files: tuple[str, ...] = setting(
        [],
        inner_paths(),
        "Files or folders that must exist in the code folder before a run starts.",
        free("it only checks that they exist"),
    )
    variables: tuple[tuple[str, str], ...] = setting(
        {},
        variables(),
        "Environment variables for attempts, setup and gates. They must not be secrets.",
        free_unless_steering("some variables make every program, also in gates, load or run other code"),
    )
    checks: tuple[CheckSetting, ...] = setting(
        [],
        check_list(),
        "Commands that must succeed on the host, in the code folder, before a run starts.",
        needs_approval("they run on the host as the user"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    files: tuple[str, ...] = setting(
        [],
        paths_to_mask(),
        "Files or folders of the code folder that look empty to the agent and that it cannot write.",
        free("it only hides files from the agent"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    subject: str = setting(
        "{task}: {title}",
        subject_template(),
        "The first line of a task's commit, up to 72 characters, with its id (`{task}`) and its `{title}`.",
        free("it is text in a commit"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff:
    commit: bool = setting(
        True,
        flag(),
        "Whether each task's commit contains the hand-off document; if not, it is in the state folder.",
        free("the orchestrator writes the document itself in both cases"),
    )


_CHOOSES_CREDENTIAL = "it chooses the credential with which the model is paid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    command: tuple[str, ...] = setting(
        [],
        words(),
        "A command of the host, word by word, whose first line of output is the credential; it may take 30 "
        "seconds.",
        needs_approval("it runs on the host as the user"),
    )
    source: str | None = setting(
        None,
        optional(keyring_service()),
        "The entry of your keyring that holds the credential. The Python package `keyring` has to be "
        "installed.",
        needs_approval(_CHOOSES_CREDENTIAL),
    )
    use: Literal["api_key", "oauth_token"] | None = setting(
        None,
        optional(choice("api_key", "oauth_token")),
        "The kind of credential to use, where there are several: an API key, or the long-lived token of a "
        "subscription.",
        needs_approval(_CHOOSES_CREDENTIAL),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    allow: tuple[str, ...] = setting(
        [],
        inner_paths(),
        "Files or folders that may be committed although they look like credentials or are settings of tools "
        "on your host.",
        needs_approval("such files can publish a secret, or let a program on the host do more"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    scripted: Path | None = setting(  # noqa: RUF009 - it declares a field
        None,
        optional(file()),
        "The file of a scripted model, which answers instead of a real one. No credential is needed then.",
        free_inside_folder("the orchestrator reads that file on the host"),
    )
    upstream: str | None = setting(
        None,
        optional(web_address()),
        "The address of the model; by default `ANTHROPIC_BASE_URL` of your environment, then the provider's.",
        needs_approval("the credential is sent there"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    agent: Agent = Agent()
    limits: RunLimits = RunLimits()
    image: Image = Image()
    container: Container = Container()
    mounts: tuple[MountSetting, ...] = setting(
        [],
        mount_list(),
        "Volumes and host folders for the coding agent container. A source may begin with `~` or `${HOME}`.",
        needs_approval("a mount shows files of the host, or a login, to the agent"),
    )
    setup: Setup = Setup()
    verify: Verify = Verify()
    environment: Environment = Environment()
    masked: Masked = Masked()
    commit: Commit = Commit()
    handoff: Handoff = Handoff()
    landing: Landing = Landing()
    credentials: Credentials = Credentials()
    gateway: Gateway = Gateway()


SECTIONS: Mapping[str, type] = {
    each.name: type(each.default) for each in fields(Settings) if "kind" not in each.metadata
}


def _read_declaration(key: str, each: "Field[Any]") -> Setting:
    return Setting(key=key, default=each.default, **each.metadata)


def _build_table() -> dict[str, Setting]:
    table: dict[str, Setting] = {}
    for outer in fields(Settings):
        if outer.name not in SECTIONS:
            table[outer.name] = _read_declaration(outer.name, outer)
            continue
        for inner in fields(SECTIONS[outer.name]):
            key = f"{outer.name}.{inner.name}"
            table[key] = _read_declaration(key, inner)
    return table


TABLE: Mapping[str, Setting] = _build_table()
"""By key, in the order of the reference."""
