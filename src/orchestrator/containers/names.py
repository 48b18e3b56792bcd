"""Names and labels of containers: pure, and without collisions.

A component made here is valid in a container's name, in a file's name and in a git ref. `_` escapes: `_2d` is
the byte 0x2d, and `_h…` ends a shortened component with a hash of the whole id. A task's component has no
hyphen, so the hyphens around it say where it begins and ends, although a run's id has hyphens of its own.
"""

import hashlib
import string

from orchestrator.containers.base import (
    LABEL_ATTEMPT,
    LABEL_KIND,
    LABEL_RUN,
    LABEL_STATE,
    LABEL_TASK,
    ContainerKind,
)

COMPONENT_MAX = 80
_KEPT_OF_LONG = 46
_HASH_DIGITS = 32
_PLAIN = frozenset((string.ascii_letters + string.digits).encode())
_HYPHEN, _DOT = b"-"[0], b"."[0]
_ABSENT = "_"


def component(identifier: str) -> str:
    """An id in a name: letters, digits and inner dots unchanged, everything else escaped; at most 80 long."""
    return _shorten(_escape(identifier, _PLAIN), identifier)


def attempt_name(run: str, task: str, attempt: int) -> str:
    return f"ktrdr-coding-agent-{_run(run)}-{component(task)}-{attempt}"


def gate_name(run: str, task: str | None, attempt: int, number: int) -> str:
    """The `number`-th gate container of an attempt; without a task, of the run itself."""
    return f"ktrdr-gate-{_run(run)}-{_ABSENT if task is None else component(task)}-{attempt}-{number}"


def overlay_name(run: str, task: str, attempt: int) -> str:
    """The container that makes the folders of an attempt's overlays."""
    return f"ktrdr-overlay-{_run(run)}-{component(task)}-{attempt}"


def setup_name(run: str, number: int) -> str:
    """The `number`-th setup container of a run."""
    return f"ktrdr-setup-{_run(run)}-{number}"


def labels(
    *,
    kind: ContainerKind,
    state: str | None = None,
    run: str | None = None,
    task: str | None = None,
    attempt: int | None = None,
) -> dict[str, str]:
    """The labels of a container: ids verbatim; labels that do not apply are left out."""
    values = {
        LABEL_KIND: kind,
        LABEL_STATE: state,
        LABEL_RUN: run,
        LABEL_TASK: task,
        LABEL_ATTEMPT: None if attempt is None else str(attempt),
    }
    return {name: value for name, value in values.items() if value is not None}


def _run(run: str) -> str:
    return _shorten(_escape(run, _PLAIN | {_HYPHEN}), run)


def _escape(identifier: str, plain: frozenset[int]) -> str:
    data = identifier.encode("utf-8", "surrogatepass")
    return "".join(
        chr(byte) if byte in plain or _is_inner_dot(data, place) else f"_{byte:02x}"
        for place, byte in enumerate(data)
    )


def _is_inner_dot(data: bytes, place: int) -> bool:
    """A dot between letters or digits; git allows no other, and no `.lock` at the end."""
    if data[place] != _DOT or data[place:] == b".lock":
        return False
    around = data[max(place - 1, 0) : place] + data[place + 1 : place + 2]
    return len(around) == 2 and _PLAIN.issuperset(around)


def _shorten(escaped: str, identifier: str) -> str:
    if 0 < len(escaped) <= COMPONENT_MAX:
        return escaped
    digest = hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{escaped[:_KEPT_OF_LONG]}_h{digest[:_HASH_DIGITS]}"
