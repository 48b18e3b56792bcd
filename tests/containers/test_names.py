import re
import shutil
import subprocess  # noqa: TID251 - the tests ask git itself

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.containers.names import COMPONENT_MAX, attempt_name, component, gate_name, labels

DOCKER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
ids = st.one_of(
    st.text(max_size=200),
    st.text(alphabet="ab.-_/1 ", max_size=12),
    st.from_regex(r"[0-9]{1,2}\.[0-9]{1,2}", fullmatch=True),
)
runs = st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)
numbers = st.integers(min_value=1, max_value=10_000)


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        pytest.param("3.1", "3.1", id="as in most plans"),
        pytest.param("T2", "T2", id="letters"),
        pytest.param("set-up", "set_2dup", id="hyphen"),
        pytest.param("a_b", "a_5fb", id="the escape itself"),
        pytest.param("../x", "_2e_2e_2fx", id="path"),
        pytest.param("x.lock", "x_2elock", id="git's lock files"),
        pytest.param("Ä", "_c3_84", id="not ASCII"),
    ],
)
def test_component(identifier: str, expected: str) -> None:
    assert component(identifier) == expected


@given(first=ids, second=ids)
def test_two_ids_never_share_a_component(first: str, second: str) -> None:
    assert (component(first) == component(second)) == (first == second)


@given(identifier=ids)
def test_a_component_is_short_and_fit_for_files_and_containers(identifier: str) -> None:
    made = component(identifier)
    assert 1 <= len(made) <= COMPONENT_MAX
    assert DOCKER_NAME.fullmatch(f"x{made}")
    assert made not in (".", "..")


@given(first=st.tuples(runs, ids, numbers), second=st.tuples(runs, ids, numbers))
def test_two_attempts_never_share_a_name(first: tuple[str, str, int], second: tuple[str, str, int]) -> None:
    assert DOCKER_NAME.fullmatch(attempt_name(*first))
    assert (attempt_name(*first) == attempt_name(*second)) == (first == second)


def test_hyphens_do_not_make_two_attempts_one() -> None:
    assert attempt_name("a-1", "2", 1) != attempt_name("a", "1-2", 1)


def test_long_ids_that_differ_at_their_end_differ() -> None:
    assert component("x" * 199 + "a") != component("x" * 199 + "b")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@settings(max_examples=60, deadline=None)
@given(identifier=ids)
def test_git_takes_a_component_in_a_ref(identifier: str) -> None:
    checked = subprocess.run(["git", "check-ref-format", f"refs/ktrdr/{component(identifier)}"])
    assert checked.returncode == 0


def test_a_gate_without_a_task_has_a_name_that_no_task_gives() -> None:
    assert gate_name("run-1", None, 1, 2) == "ktrdr-gate-run-1-_-1-2"
    assert gate_name("run-1", "_", 1, 2) != gate_name("run-1", None, 1, 2)
    assert gate_name("run-1", "3.1", 2, 4) == "ktrdr-gate-run-1-3.1-2-4"


def test_labels_carry_ids_verbatim_and_leave_out_what_does_not_apply() -> None:
    assert labels(kind="shell") == {"ktrdr.kind": "shell"}
    assert labels(kind="attempt", state="s", run="r-1", task="a/b", attempt=2) == {
        "ktrdr.kind": "attempt",
        "ktrdr.state": "s",
        "ktrdr.run": "r-1",
        "ktrdr.task": "a/b",
        "ktrdr.attempt": "2",
    }
