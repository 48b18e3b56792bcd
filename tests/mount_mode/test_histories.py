"""In every order of changes by user and agent, and after a kill at any time, nothing of the user's is lost.

Histories are drawn by hypothesis, the same ones each time; HISTORIES says how many (`make soak` runs more,
and draws them again).
"""

import os
from contextlib import contextmanager
from functools import partial

import pytest
from e2e_kit import scenes
from history_kit import BEHAVIOURS, PATHS, History, finish
from hypothesis import HealthCheck, Phase, event, given, note, settings
from hypothesis import strategies as st

pytestmark = [pytest.mark.docker, pytest.mark.timeout(3 * 3600)]

HISTORIES = int(os.environ.get("HISTORIES", "6"))
SOAK = "HISTORIES" in os.environ
RUN = ("--json", "--agent-command", "./agent.sh", "-c", "limits.attempts=1")

Step = tuple[str, ...]
Turn = tuple[str, list[Step], Step, int | None]
"""How the agent will behave, what the user does first, the command, and when it is killed."""

deeds: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(PATHS)),
    st.tuples(st.just("write"), st.sampled_from(PATHS)),
    st.tuples(st.sampled_from(["delete", "move"]), st.sampled_from(PATHS)),
    st.tuples(st.sampled_from(["stage", "commit", "tidy", "edit plan"])),
)
behaviours = st.sampled_from(sorted(BEHAVIOURS))
first_command: Step = ("run", "plan.md", "--allow-dirty", *RUN)
commands: st.SearchStrategy[Step] = st.one_of(
    st.sampled_from([first_command, ("resume", *RUN), ("resume", *RUN)]),
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
kills = st.one_of(st.none(), st.none(), st.integers(0, 20))
turns = st.tuples(behaviours, st.lists(deeds, max_size=3), commands, kills)


@settings(
    max_examples=HISTORIES,
    derandomize=not SOAK,
    database=None,
    phases=[Phase.generate, Phase.shrink] if SOAK else [Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    first=st.tuples(behaviours, st.lists(deeds, max_size=2), st.just(first_command), kills),
    others=st.lists(turns, min_size=1, max_size=4),
)
def test_no_content_of_the_user_is_lost_and_the_next_command_works(first: Turn, others: list[Turn]) -> None:
    with contextmanager(scenes)() as make:
        history = History(make())
        try:
            history.begin()
            for behaviour, deeds_before, command, kill_after in (first, *others):
                history.act(partial(history.behave, behaviour))
                for deed in deeds_before:
                    history.act(partial(do, history, deed))
                code = history.command(*command, kill_after=kill_after)
                event(f"{command[0]} ended with {code}")
            finish(history)
        finally:
            note("\n".join(history.commands))


def do(history: History, deed: Step) -> None:
    match deed:
        case ("write", path):
            history.write(path)
        case ("delete", path):
            history.delete(path)
        case ("move", path):
            history.move(path)
        case ("stage",):
            history.stage()
        case ("commit",):
            history.commit()
        case ("tidy",):
            history.tidy()
        case ("edit plan",):
            history.edit_plan()
        case _:
            raise AssertionError(deed)
