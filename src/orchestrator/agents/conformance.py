"""The promises of every agent driver, as checks that run against any driver.

A check yields a sentence for every broken promise, and nothing for a good driver. No program is started: a
driver's own tests cover the behaviour of its program.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final, get_args

from orchestrator.agents.base import (
    OUTCOME_FILE,
    AgentDriver,
    Capabilities,
    Launch,
    LaunchRequest,
    Session,
    Support,
)
from orchestrator.events import AgentEvent, Finished, SessionStarted, Text, ToolCall, Unknown
from orchestrator.text import plain

Check = Callable[[AgentDriver], Iterator[str]]

_SESSION: Final = "0b5e55ed-0000-4000-8000-000000000000"
_MODEL: Final = "model-of-the-check"
_TURNS: Final = 8191
_TOKEN: Final = "token-of-the-check"  # noqa: S105

REQUEST: Final = LaunchRequest(
    run="a-run",
    task="3.1",
    attempt=2,
    session=Session(id=_SESSION, resumed=False),
    model=_MODEL,
    max_turns=_TURNS,
    token=_TOKEN,
    command=("agent-of-the-check", "--flag", "a word"),
)

HOSTILE_LINES: Final[tuple[bytes, ...]] = (
    b"",
    b" \t\r",
    b"plain words",
    b"\xff\xfe\x00 not UTF-8",
    b"\x1b]0;title\x07\x1b[31mred\x1b[0m \xc2\x9b31m",
    "\u202eright to left\u2066".encode(),
    b"[/workspace/a.py]",
    b"null",
    b"[]",
    b"{}",
    b'{"type": null}',
    b'{"type": {"type": []}}',
    b'{"type": "\\ud800"}',
    b'{"type": "result"}',
    b'{"type": "result", "is_error": "no", "structured_output": 1e999}',
    b'{"type": "assistant", "message": {"content": [{"type": "text", "text": "\\u001b[2J\\ud800"}]}}',
    b'{"type": "assistant", "message": {"content": [{"type": "tool_use", "input": []}]}}',
    b'{"type": "assistant", "message": "words"}',
    b'{"type": "user", "message": {"content": [null, 1, {"type": "tool_result"}]}}',
    b'{"a": 1, "a": 2}',
    b'{"a": NaN}',
    b'{"a": ' + b"9" * 5_000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"type": "assistant", "message": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
    b'{"type": "system", "text": "' + b"x" * 3_000_000 + b'"}',
    b"y" * 3_000_000,
)


def parse_lines(driver: AgentDriver, lines: Iterable[bytes]) -> tuple[AgentEvent, ...]:
    """The events that a new parser reads from these lines."""
    parser = driver.parser()
    return tuple(event for line in lines for event in parser.feed(line))


def name_is_a_word(driver: AgentDriver) -> Iterator[str]:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", driver.name):
        yield f"the name {driver.name!r} is not lower-case words joined by hyphens"


def capabilities_are_declared(driver: AgentDriver) -> Iterator[str]:
    for entry in fields(Capabilities):
        value = getattr(driver.capabilities, entry.name)
        if value not in get_args(Support):
            yield f"{entry.name} is {value!r}"


def program_is_the_first_word(driver: AgentDriver) -> Iterator[str]:
    program, argv = driver.program(REQUEST.command), driver.launch(REQUEST).argv
    if not argv or argv[0] != program:
        yield f"program() says {program!r}, the command line is {argv!r}"


def launch_is_a_function(driver: AgentDriver) -> Iterator[str]:
    if driver.launch(REQUEST) != driver.launch(REQUEST):
        yield "the same request gives two different launches"


def token_is_in_the_environment_only(driver: AgentDriver) -> Iterator[str]:
    launch = driver.launch(REQUEST)
    if any(_TOKEN in word for word in (*launch.argv, *launch.files)):
        yield "the token is in the command line or in a file's name"
    if any(_TOKEN.encode() in content for content in launch.files.values()):
        yield "the token is in a file"
    if driver.needs_model != (_TOKEN in launch.env.values()):
        yield "the token must be in the environment exactly when a model is needed"
    if _mentions(driver.launch(replace(REQUEST, token=None)), "None"):
        yield "an absent token becomes the word None"


def files_stay_in_their_folders(driver: AgentDriver) -> Iterator[str]:
    launch = driver.launch(REQUEST)
    for name in launch.files:
        if PurePosixPath(name).name != name:
            yield f"the file {name!r} is not a plain name"
    for path in map(PurePosixPath, driver.session_files(_SESSION)):
        if path.is_absolute() or ".." in path.parts:
            yield f"the session file {path} is not below HOME"


def request_reaches_the_agent(driver: AgentDriver) -> Iterator[str]:
    launch, capabilities = driver.launch(REQUEST), driver.capabilities
    asked = {
        _MODEL: capabilities.model,
        str(_TURNS): capabilities.turn_limit,
        _SESSION: capabilities.resume,
    }
    for word, support in asked.items():
        if _mentions(launch, word) != (support != "ignored"):
            yield f"{word!r} is {support}, but the launch says otherwise"


def resume_works_as_declared(driver: AgentDriver) -> Iterator[str]:
    first = driver.launch(REQUEST)
    again = driver.launch(replace(REQUEST, session=Session(id=_SESSION, resumed=True)))
    resumes = driver.capabilities.resume != "ignored"
    if (first != again) != resumes:
        yield "a resumed session must start differently exactly when resume is supported"
    if resumes != any(_SESSION in path for path in driver.session_files(_SESSION)):
        yield "session files must be named exactly when resume is supported"


def outcome_comes_as_declared(driver: AgentDriver) -> Iterator[str]:
    launch, by_file = driver.launch(REQUEST), driver.capabilities.structured_outcome == "translated"
    if by_file != _mentions(launch, OUTCOME_FILE):
        yield "the outcome file must be named exactly when the outcome is translated"


def noise_is_not_success(driver: AgentDriver) -> Iterator[str]:
    for event in parse_lines(driver, HOSTILE_LINES):
        if isinstance(event, Finished) and not event.is_error:
            yield f"noise became {event}"
        if isinstance(event, SessionStarted):
            yield f"noise became {event}"


def every_line_becomes_events(driver: AgentDriver) -> Iterator[str]:
    parser = driver.parser()
    for line in HOSTILE_LINES:
        try:
            events = parser.feed(line)
        except Exception as error:
            yield f"{line[:60]!r} raised {type(error).__name__}"
            continue
        if not all(isinstance(event, get_args(AgentEvent)) for event in events):
            yield f"{line[:60]!r} gave something that is not an event"


def unknown_lines_are_kept(driver: AgentDriver) -> Iterator[str]:
    for line in HOSTILE_LINES:
        for event in parse_lines(driver, [line]):
            if isinstance(event, Unknown) and event.line != line.decode("utf-8", "replace"):
                yield f"{line[:60]!r} was not kept as it came"


def text_is_text(driver: AgentDriver) -> Iterator[str]:
    for event in parse_lines(driver, HOSTILE_LINES):
        texts = [event.text] if isinstance(event, Text) else []
        if isinstance(event, ToolCall):
            texts = [event.name, event.summary]
        if any(plain(text) != text for text in texts):
            yield f"control codes in {str(event)[:120]!r}"
        if isinstance(event, ToolCall) and "\n" in event.summary:
            yield f"a summary of more than one line: {event.summary!r}"


def parsers_share_nothing(driver: AgentDriver) -> Iterator[str]:
    if parse_lines(driver, HOSTILE_LINES) != parse_lines(driver, HOSTILE_LINES):
        yield "a second parser reads the same lines differently"


def _mentions(launch: Launch, word: str) -> bool:
    return any(word in text for text in (*launch.argv, *launch.env.values()))


CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        check.__name__: check
        for check in (
            name_is_a_word,
            capabilities_are_declared,
            program_is_the_first_word,
            launch_is_a_function,
            token_is_in_the_environment_only,
            files_stay_in_their_folders,
            request_reaches_the_agent,
            resume_works_as_declared,
            outcome_comes_as_declared,
            noise_is_not_success,
            every_line_becomes_events,
            unknown_lines_are_kept,
            text_is_text,
            parsers_share_nothing,
        )
    }
)


def problems(driver: AgentDriver) -> tuple[str, ...]:
    """Every promise the driver breaks, each after the name of its check; empty for a good driver."""
    return tuple(f"{name}: {problem}" for name, check in CHECKS.items() for problem in check(driver))
