"""Agents that claim too much, shout, break things or fall over: only work that passes its gates lands."""

import json

import pytest
from e2e_kit import AGENT, REPORT, Done, MakeScene, Scene, bash, outcome, plan, script, task

pytestmark = pytest.mark.docker

ONCE = ("-c", "limits.attempts=1")
SHOUTED = 1_000_000
REPLACED = "\ufffd\ufffd\ufffd\ufffd(\n"
"""The five bytes that are not text, as the engine's log keeps them."""
MARKUP = "[/workspace/a.py] [bold]x[/bold] \x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J"

ODD_BUT_RIGHT = f"""{REPORT}
case "$ORCHESTRATOR_TASK" in
1) head -c {SHOUTED} /dev/zero | tr '\\0' 'e' >&2 ;;
2) printf '\\377\\376\\200\\303\\050\\n'; printf '\\377 \\377\\n' >&2 ;;
3) cat markup.txt; report completed "$(cat /dev/null)" ;;
4) rm -rf /workspace/.git /workspace/.git/* ;;
5) git init -q; echo '[core] hooksPath = /workspace' >> .git/config
   git -c user.name=x -c user.email=x@y commit -q --allow-empty -m mine
   git branch -m stolen; git checkout -q --orphan o ;;
esac
echo "$ORCHESTRATOR_TASK" > "made-$ORCHESTRATOR_TASK.txt"
report completed
"""


@pytest.fixture(scope="module")
def odd(new_module_scene: MakeScene) -> tuple[Scene, Done]:
    scene = new_module_scene()
    scene.write("markup.txt", MARKUP)
    tasks = [task(str(number), f"test -s made-{number}.txt") for number in range(1, 6)]
    scene.commit(plan__md=plan(*tasks), agent__sh=ODD_BUT_RIGHT)
    done = scene.orchestrator("run", "plan.md", *AGENT, *ONCE)
    return scene, done


def transcript(scene: Scene, task: str, stream: str, run: str = "plan.md") -> bytes:
    return scene.transcript(scene.status(run)["run"], task, 1, stream)


def test_right_work_lands_however_it_was_done(odd: tuple[Scene, Done]) -> None:
    scene, done = odd
    assert done.exit_code == 0, done
    status = scene.status("plan.md")
    assert [shown["status"] for shown in status["tasks"]] == ["completed"] * 5
    assert len(scene.commits("work", since=status["base"])) == 5


def test_a_megabyte_on_stderr_is_stored_whole(odd: tuple[Scene, Done]) -> None:
    assert transcript(odd[0], "1", "stderr") == b"e" * SHOUTED


def test_bytes_that_are_not_text_are_stored_and_shown_as_replacements(odd: tuple[Scene, Done]) -> None:
    scene, _ = odd
    stored = transcript(scene, "2", "stdout")
    assert stored.decode() == REPLACED
    raw = scene.orchestrator("logs", "plan.md", "--task", "2", "--raw")
    assert (raw.exit_code, raw.stdout) == (0, stored)
    shown = scene.orchestrator("logs", "plan.md", "--task", "2", "--json")
    assert shown.exit_code == 0
    assert [json.loads(line)["stream"] for line in shown.stdout.splitlines()] == ["stdout", "stderr"]


def test_markup_is_shown_as_text_and_control_codes_never_reach_the_terminal(odd: tuple[Scene, Done]) -> None:
    scene, done = odd
    logs = scene.orchestrator("logs", "plan.md", "--task", "3")
    for shown in (done.stdout, logs.stdout):
        assert b"[/workspace/a.py] [bold]x[/bold]" in shown
        assert b"\x1b" not in shown and b"\x07" not in shown
    assert transcript(scene, "3", "stdout") == MARKUP.encode()


def test_breaking_the_git_directory_inside_harms_nothing(odd: tuple[Scene, Done]) -> None:
    scene, _ = odd
    assert scene.git("fsck", "--strict", "--no-dangling") == ""
    assert scene.git("for-each-ref", "--format=%(refname)", "refs/heads").split() == [
        "refs/heads/main",
        "refs/heads/work",
    ]
    assert scene.git("log", "--format=%an", "main..work").split() == ["Ada"] * 5
    assert scene.git("status", "--porcelain") == ""
    assert "hooksPath" not in (scene.folder / ".git" / "config").read_text()


WRONG = {
    "does nothing": ("exit 0", "unclear"),
    "ends in an error without an outcome": ("echo x > made.txt; exit 7", "failed"),
    "claims an empty work": ("report completed", "completed"),
    "claims work that fails its verify": ("echo wrong > other.txt; report completed", "completed"),
    "says failed after right work": ("echo x > made.txt; report failed", "failed"),
    "says completed and exits with 3": ("echo x > made.txt; report completed; exit 3", "failed"),
    "writes a FIFO as its outcome": ('echo x > made.txt; mkfifo "$ORCHESTRATOR_OUTCOME"', "unclear"),
    "writes a link as its outcome": (
        'echo x > made.txt; echo \'{"status": "completed"}\' > /tmp/o; ln -s /tmp/o "$ORCHESTRATOR_OUTCOME"',
        "unclear",
    ),
    "links its outcome to a file of the host": (
        'echo x > made.txt; ln -s /etc/hostname "$ORCHESTRATOR_OUTCOME"',
        "unclear",
    ),
    "writes a folder as its outcome": ('echo x > made.txt; mkdir "$ORCHESTRATOR_OUTCOME"', "unclear"),
    "writes no JSON": ('echo x > made.txt; echo "I am done!" > "$ORCHESTRATOR_OUTCOME"', "unclear"),
    "writes two megabytes of outcome": (
        'echo x > made.txt; { printf \'{"status": "completed", "summary": "\'; head -c 2000000 /dev/zero '
        "| tr '\\0' x; printf '\"}'; } > \"$ORCHESTRATOR_OUTCOME\"",
        "unclear",
    ),
    "asks without a question": ("echo x > made.txt; report needs_human", "unclear"),
    "never ends": ("echo x > made.txt; exec tail -f /dev/null", "timed_out"),
}


@pytest.mark.parametrize(("does", "status"), WRONG.values(), ids=WRONG)
def test_work_lands_only_with_a_valid_outcome(scene: Scene, does: str, status: str) -> None:
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh=f"{REPORT}\necho hello\n{does}\n")
    done = scene.run(*AGENT, *ONCE, "-c", "limits.attempt_seconds=5")
    assert done.exit_code == 1, done
    assert [event["status"] for event in done.of("attempt_ended")] == [status], done
    assert done.end["status"] == "failed"
    assert scene.git("rev-parse", "work") == scene.git("rev-parse", "main")
    assert transcript(scene, "1", "stdout") == b"hello\n"
    assert scene.containers() == []


def test_an_agent_that_ends_as_if_it_was_killed_is_not_charged_and_parks_the_run(scene: Scene) -> None:
    does = "echo x > made.txt; report completed; kill -9 $$"
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh=f"{REPORT}\n{does}\n")
    done = scene.run(*AGENT, *ONCE)
    assert (done.exit_code, done.end["cause"]) == (4, "interrupted_often"), done
    assert {event["status"] for event in done.of("attempt_ended")} == {"interrupted"}
    assert scene.git("log", "--format=%s", "main..work") == ""


SILENT = """\
case "$ORCHESTRATOR_TASK" in
1) echo "nothing to do" ;;
2) rm -rf "${ORCHESTRATOR_OUTCOME%/*}"; echo x > made.txt ;;
esac
"""


def test_a_program_that_reports_nothing_is_judged_by_its_exit_code_and_its_changes(scene: Scene) -> None:
    tasks = (task("1", "test -s agent.sh"), task("2", kind="MIXED"))
    scene.commit(plan__md=plan(*tasks), agent__sh=f"{SILENT}true\n")
    done = scene.run(*AGENT)
    assert done.exit_code == 1, done
    assert [event["status"] for event in done.of("attempt_ended")] == ["unclear", "unclear"], done
    assert "/run/orchestrator/out/outcome.json" in done.of("attempt_ended")[0]["reason"]
    assert "seems to be done already" in done.end["reason"] and done.end["cause"] == "task_failed"
    accepted = scene.orchestrator("resume", "--accept", "1", "--json")
    assert accepted.exit_code == 0, accepted
    assert [event["task"] for event in accepted.of("attempt_started")] == ["2"]
    finished = [(event["status"], event["verification"]) for event in accepted.of("task_finished")]
    assert finished == [("completed", "unverified")] * 2
    assert scene.status("plan.md")["unverified"] == 2
    assert scene.git(
        "log", "--format=%(trailers:key=Orchestrator-Task,valueonly,separator=)", "main..work"
    ) == ("2\n1")
    assert scene.git("show", "work:made.txt") == "x"


def test_an_empty_candidate_fails_even_if_its_verify_passes(scene: Scene) -> None:
    scene.commit(plan__md=plan(task("1", "test -s agent.sh")), agent__sh=f"{REPORT}\nreport completed\n")
    done = scene.run(*AGENT, *ONCE)
    assert done.exit_code == 1, done
    assert [gate["verdict"] for gate in done.of("gate_ended")] == ["pass"]
    assert "no file was changed" in done.end["reason"]


CLAIMS = {
    "without a tool call": ([outcome()], "unclear"),
    "without an outcome": ([bash("echo x > made.txt"), {"text": "All done, completed!"}], "unclear"),
    "that it failed": ([bash("echo x > made.txt"), outcome("failed")], "failed"),
}


@pytest.mark.parametrize(("steps", "status"), CLAIMS.values(), ids=CLAIMS)
def test_prose_of_the_real_cli_decides_nothing(scene: Scene, steps: list[object], status: str) -> None:
    scene.commit(plan__md=plan(task("1", "test -e plan.md")), model__json=script(t1=steps))
    done = scene.run("-c", "gateway.scripted=model.json", *ONCE)
    assert done.exit_code == 1, done
    assert [event["status"] for event in done.of("attempt_ended")] == [status]


ASKS = """\
echo '{"status": "needs_human", "question": "Tea or coffee?", "options": ["tea", "coffee"],
"recommendation": "tea"}' > "$ORCHESTRATOR_OUTCOME"
"""
ANSWERED = f"""{REPORT}
cat > "prompt-$ORCHESTRATOR_TASK.txt"
if test "$ORCHESTRATOR_ATTEMPT" = 1; then
{ASKS}
else
report completed
fi
"""


def test_a_question_ends_the_run_is_shown_and_stored_and_the_answer_reaches_the_agent(scene: Scene) -> None:
    scene.commit(
        plan__md=plan(task("1", "test -s prompt-1.txt"), task("2", "test -s other")), agent__sh=ANSWERED
    )
    done = scene.orchestrator("run", "plan.md", *AGENT)
    assert done.exit_code == 3, done
    assert "Tea or coffee?" in done.out
    status = scene.status("plan.md")
    (question,) = status["questions"]
    assert (status["status"], status["exit_code"], question["answer"]) == ("waiting", 3, None)
    assert (question["text"], question["options"]) == ("Tea or coffee?", ["tea", "coffee"])
    assert question["recommendation"] == "tea"
    assert [shown["status"] for shown in status["tasks"]] == ["waiting", "pending"]
    assert scene.containers() == []

    still = scene.orchestrator("resume", "--json")
    assert still.exit_code == 3, still
    assert still.of("attempt_started") == []

    scene.orchestrator("resume", "--json", "-g", "Cocoa, if there is any.", "-c", "limits.attempts=1")
    prompt = (scene.folder / "prompt-1.txt").read_text()
    assert "Tea or coffee?" in prompt and "Cocoa, if there is any." in prompt
    status = scene.status("plan.md")
    assert status["questions"][0]["answer"]["text"] == "Cocoa, if there is any."
    assert status["tasks"][0]["status"] == "completed"
