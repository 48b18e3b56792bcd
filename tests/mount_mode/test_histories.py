"""Whatever user and agent do in turn, and whenever the command is killed: nothing of the user's is lost.

Histories are drawn by hypothesis, the same ones each time; HISTORIES says how many (`make soak` runs more,
and draws them anew).
"""

import os
from contextlib import contextmanager
from functools import partial

import pytest
from e2e_kit import scenes
from history_kit import BEHAVIOURS, PATHS, History, finish
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

pytestmark = [pytest.mark.docker, pytest.mark.timeout(3 * 3600)]

HISTORIES = int(os.environ.get("HISTORIES", "12"))
SOAK = "HISTORIES" in os.environ
RUN = ("--json", "--agent-command", "bash agent.sh", "-c", "limits.attempts=1")

Step = tuple[str, ...]

deeds: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(PATHS)),
    st.tuples(st.just("write"), st.sampled_from(PATHS)),
    st.tuples(st.sampled_from(["delete", "move"]), st.sampled_from(PATHS)),
    st.tuples(st.sampled_from(["stage", "commit", "tidy"])),
    st.tuples(st.just("behave"), st.sampled_from(sorted(BEHAVIOURS))),
)
commands: st.SearchStrategy[Step] = st.one_of(
    st.just(("run", "plan.md", "--allow-dirty", *RUN)),
    st.just(("resume", *RUN)),
    st.sampled_from(
        [
            ("run", "plan.md", "--new", "--allow-dirty", *RUN),
            ("undo", "plan.md", "1"),
            ("undo", "plan.md", "2"),
            ("abandon", "plan.md"),
            ("cancel", "plan.md"),
        ]
    ),
)
kills = st.one_of(st.none(), st.none(), st.integers(0, 12))
turns = st.tuples(st.lists(deeds, max_size=3), commands, kills)


@settings(
    max_examples=HISTORIES,
    derandomize=not SOAK,
    database=None,
    phases=[Phase.generate, Phase.shrink] if SOAK else [Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(turns=st.lists(turns, min_size=2, max_size=5))
def test_nothing_of_the_users_is_ever_lost_and_the_next_command_works(
    turns: list[tuple[list[Step], Step, int | None]],
) -> None:
    with contextmanager(scenes)() as make:
        history = History(make())
        try:
            history.begin()
            for deeds_before, command, kill_after in turns:
                for deed in deeds_before:
                    history.act(partial(do, history, deed))
                history.command(*command, kill_after=kill_after)
            finish(history)
        finally:
            note("\n".join(history.told))


def do(history: History, deed: Step) -> None:
    match deed:
        case ("write", path):
            history.write(path)
        case ("delete", path):
            history.delete(path)
        case ("move", path):
            history.move(path)
        case ("behave", name):
            history.behave(name)
        case ("stage",):
            history.stage()
        case ("commit",):
            history.commit()
        case ("tidy",):
            history.tidy()
        case _:
            raise AssertionError(deed)
