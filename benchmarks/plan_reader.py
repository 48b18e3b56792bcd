"""How long reading a plan takes, and whether that grows with its size and no faster.

Prints, for plans of 0.25 to 4 MB: the CPU time, which is the whole time on an idle core; its ratio to the
time of 1 MB, scaled by size (1.0 is linear growth); and its ratio to a floor of the same run, which is
finding the blocks of the same text with markdown-it-py alone.
Run: python benchmarks/plan_reader.py
"""

import time
from collections.abc import Callable

from markdown_it import MarkdownIt

from orchestrator.plan.reader import read_plan

SIZES = (0.25, 0.5, 1.0, 2.0, 4.0)
REPEATS = 5
LIMIT_SECONDS = 0.3

TASK = """\
## Task {major}.{minor}: Write part {minor}

**File(s):** `src/part_{minor}.py`, `tests/test_part_{minor}.py`
**Type:** CODING
**Estimated time:** 2-3 hours
**Depends on:** Task {major}.1

**Description:**
What the task must do, in a paragraph that goes over several lines, because authors
explain what they want and why they want it.

**Implementation Notes:**
- one thing to know
- another thing, with `code` and **emphasis**
  - and a detail below it

```python
def part(value: int) -> int:
    return value + {minor}
```

**Acceptance Criteria:**
- [ ] `part(1)` returns the right number
- [ ] The unit tests pass

**Verify:**
```bash
python -m pytest -q tests/test_part_{minor}.py
```

---

"""


def plan_of(megabytes: float) -> str:
    parts = ["# Milestone 1: A large plan\n\n"]
    size = 0
    while size < megabytes * 1_000_000:
        number = len(parts)
        parts.append(TASK.format(major=number // 40 + 1, minor=number % 40 + 1))
        size += len(parts[-1])
    return "".join(parts)


def best(action: Callable[[], object]) -> float:
    """CPU seconds of the fastest of a few runs: what others add on a shared machine is not of interest."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def floor_of(text: str) -> float:
    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return best(lambda: parser.parse(text))


def main() -> None:
    texts = {size: plan_of(size) for size in SIZES}
    seconds = {size: best(lambda text=text: read_plan(text, path="plan.md")) for size, text in texts.items()}
    print(f"{'MB':>5}  {'tasks':>6}  {'seconds':>8}  {'growth':>6}  {'floor':>6}")
    for size, text in texts.items():
        tasks = len(read_plan(text, path="plan.md").tasks)
        growth = seconds[size] / (seconds[1.0] * size)
        ratio = seconds[size] / floor_of(text)
        print(f"{size:>5}  {tasks:>6}  {seconds[size]:>8.3f}  {growth:>6.2f}  {ratio:>6.2f}")
    verdict = "below" if seconds[1.0] < LIMIT_SECONDS else "ABOVE"
    print(f"1 MB: {seconds[1.0]:.3f} s, {verdict} the limit of {LIMIT_SECONDS} s")


if __name__ == "__main__":
    main()
