"""The plan that `orchestrator plan new` writes, and the texts in it that its author has to replace."""

import re
from collections.abc import Iterator, Sequence

FILE = "path/to/file"
_GOAL = "Say in a paragraph what will be true when this milestone is done."
_FIRST = "Do the first thing"
_WHAT = "Say what the task must do, in enough detail for a reader who sees only this task."
_CRITERION = "A result that can be observed from outside"

PLACEHOLDERS = (_GOAL, _FIRST, FILE, _WHAT, _CRITERION)
_ANY = re.compile("|".join(rf"(?<![\w/.-]){re.escape(each)}(?![\w/-])" for each in PLACEHOLDERS))

_TEXT = f"""\
# Milestone: {{title}}

**Branch:** `milestone/{{name}}`

## Goal

{_GOAL}

---

## Task 1.1: {_FIRST}

**File(s):** `{FILE}`
**Type:** CODING
**Estimated time:** 30 min

**Description:**
{_WHAT}

**Acceptance Criteria:**
- [ ] {_CRITERION}

**Verify:**
{{changed}}

---

## Task 1.2: Show that it works

**Type:** VALIDATION
**Estimated time:** 10 min
**Depends on:** 1.1

**Description:**
Use what was built as its users will, and report what does not work.

**Acceptance Criteria:**
- [ ] The scenario below passes

**Verify:**
{{works}}

---

## E2E Test

{{works}}
"""


def render_skeleton(title: str, name: str, tests: Sequence[str]) -> str:
    """A plan of two tasks; `name` ends its branch, and `tests` run the project's tests."""
    return _TEXT.format(
        title=title,
        name=name,
        changed=_render_blocks(f"test -e {FILE}", *tests),
        works=_render_blocks(*(tests or [f"test -s {FILE}"])),
    )


def _render_blocks(*commands: str) -> str:
    return "\n\n".join(f"```bash\n{command.strip()}\n```" for command in commands)


def find_placeholders(text: str) -> Iterator[tuple[int, str]]:
    """Each placeholder that is left, with the first line that has it."""
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        for found in _ANY.findall(line):
            if found not in seen:
                seen.add(found)
                yield number, found
