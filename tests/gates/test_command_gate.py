"""The command gate in real containers: verdicts, shell, surroundings and evidence."""

import asyncio
import hashlib
import json
import subprocess  # noqa: TID251 - takes a container away, as a user at another terminal does
from typing import Any

import pytest

from orchestrator.gates import command_gate
from orchestrator.gates.evidence import TAIL_CHARACTERS, tail
from orchestrator.mounts import Bind

pytestmark = pytest.mark.docker
Gates = Any

VERDICTS = {
    "passes": ("test -f greeting.txt", "pass", 0),
    "fails": ("exit 3", "fail", 3),
    "a command that is not there": ("no-such-command", "fail", 127),
    "a syntax error": ("if then", "fail", 2),
    "exit 124 of its own": ("exit 124", "fail", 124),
    "exit 137 of its own": ("exit 137", "fail", 137),
    "killed by itself": ("kill -9 $$", "fail", 137),
    "exit 255": ("exit 255", "fail", 255),
    "the first of two lines fails": ("false\ntrue", "fail", 1),
    "a failing pipe": ("false | cat", "fail", 1),
    "a reader that stops early": ("seq 1 200000 | grep -q 3 && x=$(seq 1 200000 | head -1)", "pass", 0),
    "bash cannot read what is made of it": ("shopt -s extglob\n[[ b == @(a|b) ]]; false | cat", "fail", 1),
    "a condition that is false": ("if false; then exit 9; fi", "pass", 0),
    "an unset variable is empty": ('test -z "$NOTHING_LIKE_IT"', "pass", 0),
    "bash, not sh": ('[[ "abc" == a* ]] && read -r x <<< y && test "$x" = y', "pass", 0),
    "quotes, dollars and backslashes": (
        "test \"$(printf '%s' 'a\"b$c\\d`e')\" = 'a\"b$c\\d`e'",
        "pass",
        0,
    ),
    "reads an empty input": ('test -z "$(cat)"', "pass", 0),
}


@pytest.mark.parametrize(("block", "verdict", "exit_code"), VERDICTS.values(), ids=VERDICTS)
async def test_the_verdict_of_a_block(gates: Gates, block: str, verdict: str, exit_code: int) -> None:
    evidence = await gates.one(block)
    assert (evidence.verdict, evidence.exit_code, evidence.detail) == (verdict, exit_code, "")


async def test_blocks_run_in_order_in_one_container_and_continue_after_a_failure(gates: Gates) -> None:
    results = await gates.run(
        "echo one > /tmp/seen; hostname > /tmp/name; exit 1",
        "cat /tmp/seen; test $(hostname) = $(cat /tmp/name)",
    )
    assert [result.evidence.verdict for result in results] == ["fail", "pass"]
    assert results[1].output == "one\n"
    assert [gate.name for gate in gates.started] == ["verify-1", "verify-2"]


async def test_output_is_passed_on_while_a_block_runs(gates: Gates) -> None:
    received: list[bytes] = []
    flag = gates.folder / "received"
    flag.mkdir()

    def printed(data: bytes) -> None:
        received.append(data)
        (flag / "first").touch()

    gates.when_printed = printed
    here = Bind(source=flag, target="/flag")
    block = "echo one; until test -e /flag/first; do sleep 0.1; done; echo two >&2"
    (result,) = await gates.run(block, timeout=60, mounts=(here,))
    assert (result.evidence.verdict, b"".join(received)) == ("pass", b"one\ntwo\n")


async def test_a_server_that_keeps_running_does_not_delay_the_gate(gates: Gates) -> None:
    results = await gates.run(
        "sleep 300 & echo $! > /tmp/pid; echo begun",
        "kill -0 $(cat /tmp/pid); kill $(cat /tmp/pid)",
        timeout=30,
    )
    assert [(r.evidence.verdict, r.evidence.detail) for r in results] == [("pass", ""), ("pass", "")]
    assert results[0].output == "begun\n"


async def test_a_block_over_its_time_fails_and_its_output_is_kept(gates: Gates) -> None:
    results = await gates.run("echo before; sleep 300; echo after", "echo next", timeout=2)
    late, following = results
    assert (late.evidence.verdict, late.evidence.exit_code) == ("fail", 124)
    assert "verify.timeout" in late.evidence.detail
    assert gates.stored(late) == b"before\n"
    assert following.evidence.verdict == "pass"


async def test_a_block_over_its_time_that_ignores_signals_is_killed(gates: Gates) -> None:
    evidence = await gates.one("trap '' TERM; while true; do sleep 1; done", timeout=1)
    assert (evidence.verdict, evidence.exit_code) == ("fail", 137)
    assert "verify.timeout" in evidence.detail


async def test_a_block_that_stops_its_timeout_is_killed_by_the_engine(
    gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_gate, "ENGINE_GRACE_SECONDS", 2)
    results = await gates.run("echo seen; kill -STOP $PPID; sleep 300", "echo next", timeout=1)
    assert [result.evidence.verdict for result in results] == ["fail", "pass"]
    assert "verify.timeout" in results[0].evidence.detail
    assert gates.stored(results[0]) == b"seen\n"


@pytest.mark.parametrize(
    ("times", "verdicts", "details"),
    [
        (1, ["pass", "pass", "pass"], {""}),
        (2, ["pass", "unavailable", "unavailable"], {"", "the container was removed or stopped"}),
    ],
)
async def test_commands_run_once_more_when_their_container_is_removed(
    gates: Gates, times: int, verdicts: list[str], details: set[str]
) -> None:
    removals: list[asyncio.Task[Any]] = []
    argv = ["docker", "rm", "-f", gates.spec.name]

    def remove(printed: bytes) -> None:
        if printed == b"waiting\n" and len(removals) < times:
            removal = asyncio.to_thread(subprocess.run, argv, check=True, capture_output=True)
            removals.append(asyncio.create_task(removal))

    gates.when_printed = remove
    seen = gates.folder / "seen"
    seen.mkdir()
    seen.chmod(0o777)
    waits = f"echo >> /seen/starts; test $(wc -l < /seen/starts) -gt {times} || {{ echo waiting; sleep 60; }}"
    mounts = (Bind(source=seen, target="/seen"),)
    results = await gates.run("echo first > made", waits, "cat made", mounts=mounts)
    await asyncio.gather(*removals)
    assert [result.evidence.verdict for result in results] == verdicts
    assert {result.evidence.detail for result in results} == details
    assert [gate.name for gate in gates.started] == ["verify-1", "verify-2", "verify-3"]
    assert gates.lost == ["verify-2"]
    assert times == 2 or results[2].output == "first\n"


async def test_a_missing_image_makes_every_gate_unavailable(gates: Gates) -> None:
    results = await gates.run("true", "true", image="ktrdr-no-such-image:latest")
    assert [result.evidence.verdict for result in results] == ["unavailable"] * 2
    assert [gate.name for gate in gates.started] == ["verify-1", "verify-2"]
    assert "ktrdr-no-such-image" in results[0].evidence.detail


async def test_a_gate_has_nothing_of_the_callers_environment(
    gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (
        "PYTEST_ADDOPTS",
        "NODE_OPTIONS",
        "PYTHONPATH",
        "LD_PRELOAD",
        "ANTHROPIC_API_KEY",
        "ORCHESTRATOR_RUN",
    )
    for name in names:
        monkeypatch.setenv(name, "canary")
    (result,) = await gates.run("env; cat /proc/1/environ")
    assert "canary" not in result.output
    assert not [name for name in names if f"\n{name}=" in "\n" + result.output]


SURROUNDINGS = {
    "HOME is empty": 'test -z "$(ls -A "$HOME")"',
    "HOME can be written": 'echo x > "$HOME/x"',
    "the folder is /workspace": 'test "$PWD" = /workspace',
    "the files are the candidate's": 'test "$(cat greeting.txt)" = hello',
    "the files can be written": "echo more >> greeting.txt; touch new; mkdir sub",
    "the user is the owner": 'test "$(id -u)" = "$(stat -c %u greeting.txt)"',
    "no capability": "grep -q '^CapEff:[[:space:]]*0*$' /proc/self/status",
    "no engine's socket": "! test -e /var/run/docker.sock",
}


async def test_user_folder_and_environment_of_a_gate(gates: Gates) -> None:
    results = await gates.run(*SURROUNDINGS.values())
    found = dict(zip(SURROUNDINGS, [result.evidence.verdict for result in results], strict=True))
    assert found == dict.fromkeys(SURROUNDINGS, "pass")


async def test_no_gate_sees_files_of_another(gates: Gates) -> None:
    await gates.run("echo x > left; echo x > $HOME/left; echo x > /tmp/left")
    evidence = await gates.one("! test -e left; ! test -e $HOME/left; ! test -e /tmp/left")
    assert evidence.verdict == "pass"


async def test_both_streams_are_kept_in_their_order(gates: Gates) -> None:
    (result,) = await gates.run("echo one; echo two >&2; echo three")
    assert gates.stored(result) == b"one\ntwo\nthree\n"


async def test_output_that_is_not_utf_8_is_kept_as_text(gates: Gates) -> None:
    (result,) = await gates.run(r"printf 'a\xff\xfeb\0c\033[31m\n'; false")
    assert result.evidence.verdict == "fail"
    assert result.output == "a\ufffd\ufffdb\0c\x1b[31m\n"
    assert tail(result.output) == "a\ufffd\ufffdbc\n"


async def test_a_large_output_is_stored_whole_with_its_hash(gates: Gates) -> None:
    (result,) = await gates.run("seq 1 800000; echo the end")
    stored = gates.stored(result)
    expected = "".join(f"{number}\n" for number in range(1, 800_001)).encode() + b"the end\n"
    assert len(expected) > 5_000_000
    assert stored == expected
    assert result.evidence.output_sha256 == hashlib.sha256(expected).hexdigest()
    assert len(tail(result.output)) == TAIL_CHARACTERS and tail(result.output).endswith("the end\n")


async def test_evidence_records_command_verdict_and_output(gates: Gates) -> None:
    await gates.run("echo seen; exit 4")
    kept = json.loads((gates.evidence / "e1" / "gate.json").read_bytes())
    seconds = kept.pop("seconds")
    assert 0 < seconds < 60
    assert kept == {
        "id": "e1",
        "gate": "verify-1",
        "command": "echo seen; exit 4",
        "candidate": "c" * 40,
        "image": "sha256:1",
        "container": gates.spec.name,
        "verdict": "fail",
        "exit_code": 4,
        "output_sha256": hashlib.sha256(b"seen\n").hexdigest(),
        "detail": "",
        "failed_tests": None,
        "reused": None,
    }
    assert not list(gates.evidence.rglob("*.unfinished"))


async def test_a_cancelled_gate_leaves_no_container(gates: Gates) -> None:
    running = asyncio.ensure_future(gates.run("sleep 300"))
    while not gates.started:
        await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


PATH_OF_REPORT = "report=${PYTEST_ADDOPTS##*--junitxml=}"
ONE_FAILED = '<testsuites><testcase classname="t" name="a"><failure/></testcase></testsuites>'
REPORTS = {
    "written": (f"echo '{ONE_FAILED}' > $report", ("t::a",)),
    "none": ("true", None),
    "not XML": ("echo failed > $report", None),
    "a link that leads nowhere": ("ln -s /nowhere $report", None),
    "a pipe": ("mkfifo $report", None),
    "endless": ("ln -s /dev/zero $report", None),
    "entities": ("echo '<!DOCTYPE x [<!ENTITY a \"b\">]><x>&a;</x>' > $report", None),
}


@pytest.mark.parametrize(("write", "expected"), REPORTS.values(), ids=REPORTS)
async def test_a_report_of_failed_tests(gates: Gates, write: str, expected: tuple[str, ...] | None) -> None:
    evidence = await gates.one(f"{PATH_OF_REPORT}\n{write}\nexit 1", asks_for_report=True)
    assert (evidence.verdict, evidence.exit_code, evidence.failed_tests) == ("fail", 1, expected)


async def test_a_pytest_that_cannot_write_reports_runs_without_one(gates: Gates) -> None:
    pytest_without_junitxml = (
        'case "${PYTEST_ADDOPTS:-}" in *junitxml*) '
        'echo "error: unrecognized arguments: $PYTEST_ADDOPTS"; exit 4;; esac; echo "1 failed"; exit 1'
    )
    (result,) = await gates.run(pytest_without_junitxml, asks_for_report=True)
    assert (result.evidence.exit_code, result.evidence.failed_tests) == (1, None)
    assert result.output == "1 failed\n"


async def test_a_report_is_asked_for_only_where_it_matters(gates: Gates) -> None:
    assert (await gates.one('test -z "${PYTEST_ADDOPTS:-}"')).verdict == "pass"
