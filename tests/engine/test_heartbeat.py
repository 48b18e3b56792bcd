"""When a sign of life is due, and what it says."""

import time

from orchestrator.engine.heartbeat import FIRST_SECONDS, MOST_SECONDS, Progress


def signs(progress: Progress, until: float) -> list[float]:
    """At which whole seconds from now on there is something to say."""
    begun = time.monotonic()
    return [second for second in range(int(until)) if progress.sign(begun + second + 0.5) is not None]


def test_signs_come_when_the_time_has_doubled_and_then_every_minute() -> None:
    progress = Progress()
    progress.begin("setup")
    assert signs(progress, 250) == [5, 11, 23, 47, 95, 155, 215]
    assert (FIRST_SECONDS, MOST_SECONDS) == (5, 60)


def test_nothing_is_said_of_what_has_not_begun_or_has_ended() -> None:
    progress = Progress()
    assert signs(progress, 100) == []
    progress.begin("setup")
    progress.end()
    assert signs(progress, 100) == []


def test_it_says_what_the_last_line_is() -> None:
    progress = Progress()
    progress.begin("verify-1")
    progress.printed(b"first\n" + b"x" * 5000)
    progress.printed(b"\n 10 %\r 20 %\r\n\x1b[1mlast\xff\x1b[0m\n\n")
    sign = progress.sign(time.monotonic() + 5.5)
    assert sign is not None
    assert (sign.what, sign.text) == ("verify-1", "last\ufffd")
    progress.begin("verify-2")
    sign = progress.sign(time.monotonic() + 5.5)
    assert sign is not None
    assert (sign.what, sign.text) == ("verify-2", "")
