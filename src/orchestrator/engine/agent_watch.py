"""Follow a started agent to the end of its container, and stop it in order when it must end."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.agents.base import Parser
from orchestrator.containers.base import ContainerEngine, ContainerState
from orchestrator.containers.logs import OverLimit, follow
from orchestrator.engine.agent_output import AgentOutputRecorder
from orchestrator.errors import CodingAgentError
from orchestrator.events import Limit
from orchestrator.supervision.classify import PARKING_LIMITS, AgentReport, Ending

PATIENCE_SECONDS = 10.0
CLOCK_SLACK_SECONDS = 1.0
"""`timeout` counts from its own start, the engine from the container's: they may differ by this much."""
TIMEOUT_EXITS = frozenset({124, 137})


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    report: AgentReport
    ending: Ending


class _Listener:
    """Hears every line of standard output once; raises nothing that an agent can provoke."""

    def __init__(self, parser: Parser, chatter: AgentOutputRecorder) -> None:
        self._parser = parser
        self._chatter = chatter
        self.report = AgentReport()
        self.refused = asyncio.Event()

    async def hear(self, line: bytes) -> None:
        for event in self._parser.feed(line):
            self.report = self.report.after(event)
            await self._chatter.hear(event)
            if isinstance(event, Limit) and event.kind in PARKING_LIMITS:
                self.refused.set()


async def watch(
    engine: ContainerEngine,
    container: str,
    *,
    transcript: Path,
    parser: Parser,
    chatter: AgentOutputRecorder,
    output_bytes: int,
    limit_seconds: float,
) -> Watched:
    """Read until the container has ended. A refused credential or a spent limit stops the agent at once."""
    listener = _Listener(parser, chatter)
    following = asyncio.create_task(
        follow(engine, container, transcript, on_stdout_line=listener.hear, limit_bytes=output_bytes)
    )
    refusal = asyncio.create_task(listener.refused.wait())
    try:
        await asyncio.wait({following, refusal}, return_when=asyncio.FIRST_COMPLETED)
        if not following.done():
            await stop_in_order(engine, container)
        followed = await following
        over_output = isinstance(followed, OverLimit)
        if over_output:
            await stop_in_order(engine, container)
        state = await engine.inspect(container)
    except asyncio.CancelledError:
        await stop_in_order(engine, container)
        raise
    finally:
        for task in (following, refusal):
            task.cancel()
        await asyncio.gather(following, refusal, return_exceptions=True)
    return Watched(report=listener.report, ending=_ending(state, limit_seconds, over_output=over_output))


async def stop_in_order(engine: ContainerEngine, container: str) -> None:
    """SIGINT, ten seconds, SIGTERM, ten seconds, SIGKILL; whoever started it removes it afterwards.

    An agent that ignores the first two must end all the same: its output is followed until it has ended, and
    its end is what the attempt is judged by.
    """
    for signal in ("SIGINT", "SIGTERM", "SIGKILL"):
        try:
            await engine.signal(container, signal)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await engine.wait(container)
            return
        except TimeoutError:
            continue
        except CodingAgentError:
            return


def _ending(state: ContainerState | None, limit_seconds: float, *, over_output: bool) -> Ending:
    if state is None or state.exit_code is None:
        return Ending(exit_code=None, over_output=over_output)
    ran = _seconds_between(state.started_at, state.finished_at)
    at_limit = ran is not None and ran >= limit_seconds - CLOCK_SLACK_SECONDS
    return Ending(
        exit_code=state.exit_code,
        oom_killed=state.oom_killed,
        over_time=state.exit_code in TIMEOUT_EXITS and at_limit,
        over_output=over_output,
    )


def _seconds_between(begun: str | None, ended: str | None) -> float | None:
    if begun is None or ended is None:
        return None
    # The engine writes nanoseconds; Python reads microseconds.
    first, last = (datetime.fromisoformat(_microseconds(moment)) for moment in (begun, ended))
    return (last - first).total_seconds()


def _microseconds(moment: str) -> str:
    whole, dot, fraction = moment.removesuffix("Z").partition(".")
    return f"{whole}{dot}{fraction[:6]}+00:00"
