"""Where fenced blocks end, seen through the tasks that are left."""

import pytest

from orchestrator.plan.reader import read_plan

F = "```"
ONE, TWO, THREE, SAMPLE = "## Task 1: A", "## Task 2: B", "## Task 3: C", "## Task 9: sample"
AMBIGUOUS, OPEN = "ambiguous-fence", "unterminated-fence"


@pytest.mark.parametrize(
    ("pieces", "ids", "code"),
    [
        pytest.param([ONE, f"{F}md", SAMPLE, f"{F}sh", "x", F, SAMPLE, F, TWO], "1 2", AMBIGUOUS,
        id="nested"),
        pytest.param([ONE, F, SAMPLE, f"{F}sh", "x", F, SAMPLE, F, TWO], "1 2", AMBIGUOUS,
        id="nested-in-bare"),
        pytest.param([ONE, f"{F}md", SAMPLE, f"{F}sh", "x", F, TWO, f"{F}sh", "x", F], "1 2", AMBIGUOUS,
                     id="outer-end-forgotten"),
        pytest.param([ONE, f"{F}md", SAMPLE, f"{F}sh", "x", F, TWO, F, "x", F, THREE], "1 2 3", AMBIGUOUS,
                     id="outer-end-forgotten-then-bare"),
        pytest.param([ONE, f"{F}`md", SAMPLE, f"{F}sh", "x", F, F, "x", F, f"{F}`", TWO], "1 2", None,
                     id="longer-outer"),
        pytest.param([ONE, "~~~md", SAMPLE, f"{F}sh", "x", F, "~~~", TWO], "1 2", None, id="tildes-outside"),
        pytest.param([ONE, f"{F}md", SAMPLE, "~~~sh", "~~~", F, TWO], "1 2", None, id="tildes-inside"),
        pytest.param([ONE, f"{F}md", SAMPLE, F, "x", F, SAMPLE, F, TWO], "1 2", None,
        id="bare-inside-both-agree"),
        pytest.param([ONE, f"{F}sh", "x", TWO, f"{F}sh", "x", F, THREE], "1 2 3", OPEN, id="end-forgotten"),
        pytest.param([ONE, f"{F}sh", "x", TWO, F, "x", F, THREE], "1 2 3", OPEN,
        id="end-forgotten-then-bare"),
        pytest.param([ONE, f"{F}sh", "x", TWO, f"{F}sh", "x", F, THREE, F, "y", F], "1 2 3", OPEN,
                     id="end-forgotten-bare-later"),
        pytest.param([ONE, f"{F}sh", "x", TWO, "x"], "1 2", OPEN, id="never-an-end"),
        pytest.param([ONE, f"{F}md", SAMPLE, "x"], "1", OPEN, id="sample-never-ends"),
        pytest.param([ONE, f"{F}sh", "cat <<E", SAMPLE, "E"], "1", OPEN, id="heredoc-never-ends"),
        pytest.param([ONE, f"{F}sh", SAMPLE, "x", F, TWO], "1 2", "task-in-fence", id="shell-comment"),
        pytest.param([ONE, f"{F} sh  title=x", SAMPLE, f"{F}   ", TWO], "1 2", None, id="spaces"),
        pytest.param([ONE, f"{F}x{F} is code", TWO], "1 2", None, id="code-span-at-line-start"),
        pytest.param([ONE, f"{F}py", "    " + F, "    " + SAMPLE, F, TWO], "1 2", None,
        id="indented-fence-inside"),
        pytest.param([ONE, "", f"    {F}md", "", TWO], "1 2", None, id="indented-code-is-not-a-fence"),
        pytest.param([ONE, "- a", "", f"    {F}md", SAMPLE, f"    {F}", TWO], "1 2", None,
        id="fence-in-list"),
        pytest.param([ONE, "1. a", f"\t{F}md", SAMPLE, f"\t{F}", TWO], "1 2", None,
        id="fence-in-list-by-tab"),
        pytest.param([ONE, f"- {F}sh", "  x", SAMPLE, f"  {F}", TWO], "1 2", None,
        id="fence-behind-a-bullet"),
        pytest.param([ONE, f"1. {F}", "x", f"   {F}", "2. a", TWO], "1 2", None, id="fence-behind-a-number"),
        pytest.param([ONE, f"{F}md", f"- {F}sh", f"  {F}", SAMPLE, F, TWO], "1 2", AMBIGUOUS,
        id="nested-in-item"),
        pytest.param([ONE, f"> {F}", "> x", TWO], "1 2", None, id="fence-in-quote"),
        pytest.param([ONE, f"<!-- {F}md -->", TWO], "1 2", None, id="fence-in-comment"),
    ],
)  # fmt: skip
def test_tasks_that_are_left(pieces: list[str], ids: str, code: str | None) -> None:
    plan = read_plan("\n".join(pieces) + "\n", path="plan.md")
    codes = {entry.code for entry in plan.diagnostics}
    assert [task.id for task in plan.tasks] == ids.split()
    assert code in codes if code else not codes & {AMBIGUOUS, OPEN}


def test_content_is_without_the_indentation_of_its_fence() -> None:
    text = f"## Task 1: A\n\n- **Verify:**\n\n\t{F}bash\n\tmake\n\t  -j\nx\n\t{F}\n"
    assert read_plan(text, path="plan.md").tasks[0].verify == ("make\n  -j\nx",)


def test_the_line_of_an_open_fence_is_reported() -> None:
    plan = read_plan(f"## Task 1: A\n\n{F}sh\nx\n", path="plan.md")
    assert [(entry.line, entry.severity) for entry in plan.errors] == [(3, "error")]
