"""When a sign of life is due, and what it says."""

import pytest

from orchestrator.commands.image import show_building
from orchestrator.engine.heartbeat import FIRST_SECONDS, MOST_SECONDS, Heartbeat
from orchestrator.testing.clock import FakeClock, run_in_fake_time


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def due_seconds(clock: FakeClock, heartbeat: Heartbeat, until: int) -> list[int]:
    """At which whole seconds from now on a sign of life is due."""
    found = []
    clock.advance(0.5)
    for second in range(until):
        if heartbeat.take_due() is not None:
            found.append(second)
        clock.advance(1)
    return found


def test_signs_come_when_the_time_has_doubled_and_then_every_minute(clock: FakeClock) -> None:
    heartbeat = Heartbeat(clock)
    heartbeat.begin("setup")
    assert due_seconds(clock, heartbeat, 250) == [5, 11, 23, 47, 95, 155, 215]
    assert (FIRST_SECONDS, MOST_SECONDS) == (5, 60)


def test_nothing_is_due_before_the_beginning_and_after_the_end(clock: FakeClock) -> None:
    heartbeat = Heartbeat(clock)
    assert due_seconds(clock, heartbeat, 100) == []
    heartbeat.begin("setup")
    heartbeat.end()
    assert due_seconds(clock, heartbeat, 100) == []


def test_the_last_line_of_output_is_shown(clock: FakeClock) -> None:
    heartbeat = Heartbeat(clock)
    heartbeat.begin("verify-1")
    heartbeat.note_output(b"first\n" + b"x" * 5000)
    heartbeat.note_output(b"\n 10 %\r 20 %\r\n\x1b[1mlast\xff\x1b[0m\n\n")
    clock.advance(5.5)
    sign = heartbeat.take_due()
    assert sign is not None
    assert (sign.what, sign.text) == ("verify-1", "last\ufffd")
    heartbeat.begin("verify-2")
    clock.advance(5.5)
    sign = heartbeat.take_due()
    assert sign is not None
    assert (sign.what, sign.text) == ("verify-2", "")


def test_an_image_build_without_output_shows_that_it_lasts(clock: FakeClock) -> None:
    lines: list[str] = []
    warnings: list[str] = []

    async def build() -> None:
        async with show_building(clock, note=warnings.append, pass_on=lines.append) as on_line:
            await clock.sleep(100)  # looking for an image says nothing
            on_line("Step 1/2 : RUN apt-get install")
            await clock.sleep(90)

    run_in_fake_time(clock, build())
    assert lines == ["Step 1/2 : RUN apt-get install"]
    assert len(warnings) >= 4
    assert warnings[-1].startswith("building the image, ")
    assert warnings[-1].endswith(" s: Step 1/2 : RUN apt-get install")
