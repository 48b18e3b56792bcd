"""A living attempt, examined from outside and from inside; and where the real credential is not."""

import json
import os
import sqlite3
import subprocess  # noqa: TID251 - lists this machine's processes
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import (
    AGENT,
    ORDINARY,
    PATIENCE,
    REPORT,
    Done,
    MakeScene,
    Scene,
    bash,
    docker,
    inspect,
    outcome,
    plan,
    script,
    task,
    waiting_for,
)
from fake_provider import CANARY, FakeProvider, provider

pytestmark = pytest.mark.docker

OWNER = ORDINARY if os.geteuid() == 0 else os.geteuid()
GIT_CANARY = "git-canary-2718"
PROBES = f"""{REPORT}
probe() {{ printf '%s\\t' "$1" >> probes.tsv; shift; {{ "$@" 2>&1 | tr '\\n' ' '; echo; }} >> probes.tsv; }}
tries() {{ name=$1; shift; if "$@" 2>/dev/null; then said=yes; else said=no; fi; probe "$name" echo $said; }}
probe uid id -u
probe gid id -g
probe caps sed -n 's/^Cap[A-Z][a-z]*:\\t*//p' /proc/self/status
probe no_new_privs sed -n 's/^NoNewPrivs:\\t//p' /proc/self/status
probe seccomp sed -n 's/^Seccomp:\\t//p' /proc/self/status
probe init cat /proc/1/comm
probe sockets sh -c 'find / -path /proc -prune -o -type s -print 2>/dev/null'
probe docker_socket ls /var/run/docker.sock /run/docker.sock
probe memory cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes
probe pids cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max
probe devices ls /dev
probe tmp sed -n 's/^tmpfs .tmp tmpfs //p' /proc/mounts
probe environment env
probe git_canary grep -rslF "$1" /workspace/.git /run /home /mnt /srv /var /tmp
probe hooks ls /workspace/.git/hooks
probe status git status --porcelain
probe log git log --oneline
tries writes_in touch /run/orchestrator/in/x
tries writes_prompt sh -c 'echo x >> /run/orchestrator/in/prompt.md'
tries writes_out touch /run/orchestrator/out/x
tries writes_home touch "$HOME/x"
tries writes_objects sh -c 'd=$(cat /workspace/.git/objects/info/alternates); touch "$d/x"'
tries writes_etc touch /etc/x
tries mounts mount -t tmpfs none /mnt
tries becomes_root chown 0 agent.sh
tries sees_state ls "$2"
: > ready
{waiting_for("go")}
rm -f ready go
report completed
"""


@pytest.fixture(scope="module")
def inspected(new_module_scene: MakeScene) -> tuple[Scene, dict[str, Any], dict[str, str]]:
    """A living attempt's inspection and what its agent found out."""
    scene = new_module_scene(owner=OWNER)
    (scene.folder / ".git" / "description").write_text(GIT_CANARY)
    scene.commit(plan__md=plan(task("1", "test -s probes.tsv")), agent__sh=PROBES)
    agent = ("--agent-command", f"bash agent.sh {GIT_CANARY} {scene.state}")
    limits = ("-c", "container.memory=1g", "-c", "container.cpus=1.5", "-c", "container.pids=200")
    with scene.start("run", "plan.md", "--json", *agent, *limits) as command:
        name = command.until("attempt_started")["container"]
        command.until_exists(scene.folder / "ready")
        found = inspect(name)
        scene.write("go", "")
        done = command.finish()
    assert done.exit_code == 0, done
    lines = (scene.folder / "probes.tsv").read_text().splitlines()
    return scene, found, {line.split("\t", 1)[0]: line.split("\t", 1)[1].strip() for line in lines}


def test_the_engine_got_the_whole_profile(
    inspected: tuple[Scene, dict[str, Any], dict[str, str]],
) -> None:
    _, found, _ = inspected
    host = found["HostConfig"]
    assert found["Config"]["User"] == f"{OWNER}:{OWNER}"
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["Init"], host["Privileged"]) == (True, False)
    assert (host["Memory"], host["MemorySwap"]) == (2**30, 2**30)
    assert (host["NanoCpus"], host["PidsLimit"]) == (1_500_000_000, 200)
    assert not host["Devices"] and host["PidMode"] == "" and host["IpcMode"] == "private"
    assert host["ExtraHosts"] == ["host.docker.internal:host-gateway"]
    assert host["LogConfig"]["Type"] == "json-file" and host["LogConfig"]["Config"]["max-file"] == "1"
    assert "exec" in host["Tmpfs"]["/tmp"].split(",")


def test_the_agent_is_the_main_process_under_a_time_limit(
    inspected: tuple[Scene, dict[str, Any], dict[str, str]],
) -> None:
    _, found, seen = inspected
    argv = [found["Path"], *found["Args"]]
    assert argv[:4] == ["timeout", "--foreground", "-k", "30"]
    assert argv[-4:-2] == ["bash", "agent.sh"]
    assert "init" in seen["init"]


def test_name_and_labels_say_which_attempt_a_container_belongs_to(
    inspected: tuple[Scene, dict[str, Any], dict[str, str]],
) -> None:
    scene, found, _ = inspected
    run = scene.status("plan.md")["run"]
    labels = found["Config"]["Labels"]
    assert found["Name"] == f"/ktrdr-coding-agent-{run}-1-1"
    assert (labels["ktrdr.kind"], labels["ktrdr.run"]) == ("attempt", run)
    assert (labels["ktrdr.task"], labels["ktrdr.attempt"]) == ("1", "1")
    assert labels["ktrdr.state"] == scene.state_id


def test_only_the_folder_and_the_attempts_own_folders_are_mounted(
    inspected: tuple[Scene, dict[str, Any], dict[str, str]],
) -> None:
    scene, found, _ = inspected
    mounts = {mount["Destination"]: mount for mount in found["Mounts"]}
    assert mounts["/workspace"]["Source"] == str(scene.folder)
    assert not mounts["/run/orchestrator/in"]["RW"]
    of_user = [mount for mount in found["Mounts"] if mount["Source"].startswith(f"{scene.folder}/")]
    assert [(Path(mount["Source"]).name, mount["RW"]) for mount in of_user] == [("objects", False)]
    assert not [mount for mount in found["Mounts"] if "docker" in mount["Source"]]


INSIDE = {
    "uid": str(OWNER),
    "gid": str(OWNER),
    "no_new_privs": "1",
    "seccomp": "2",
    "sockets": "",
    "git_canary": "",
    "hooks": "ls: cannot access '/workspace/.git/hooks': No such file or directory",
    "writes_in": "no",
    "writes_prompt": "no",
    "writes_out": "yes",
    "writes_home": "yes",
    "writes_objects": "no",
    "writes_etc": "no",
    "mounts": "no",
    "becomes_root": "no",
    "sees_state": "no",
}


@pytest.mark.parametrize("probe", INSIDE)
def test_probes_inside_the_container(
    inspected: tuple[Scene, dict[str, Any], dict[str, str]], probe: str
) -> None:
    assert inspected[2][probe] == INSIDE[probe]


def test_no_capability_no_device_and_no_engine_inside(
    inspected: tuple[Scene, dict[str, Any], dict[str, str]],
) -> None:
    _, _, seen = inspected
    assert set(seen["caps"].split()) == {"0" * 16}
    assert "No such file" in seen["docker_socket"]
    assert not {"sda", "vda", "kmsg", "mem", "kvm"} & set(seen["devices"].split())
    assert str(2**30) in seen["memory"]
    assert "200" in seen["pids"].split()
    assert "noexec" not in seen["tmp"]


def test_git_works_inside_without_the_users_git_directory(
    inspected: tuple[Scene, dict[str, Any], dict[str, str]],
) -> None:
    _, _, seen = inspected
    assert seen["status"] == "?? probes.tsv"
    assert seen["log"].endswith("start")


STEPS = [
    bash(
        "env > env.txt; cat /proc/*/environ | tr '\\0' '\\n' > proc.txt; find / -name '*api_key*' 2>/dev/null"
    )
]
STEPS += [bash(f"touch ready; {waiting_for('go')}; rm -f ready go"), outcome()]


@pytest.fixture(scope="module", params=["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"])
def variable(request: pytest.FixtureRequest) -> str:
    """Where the caller has the credential, and the agent its attempt's token."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def paid(variable: str) -> Iterator[FakeProvider]:
    with provider(script(t1=STEPS)) as fake:
        yield fake


@pytest.fixture(scope="module")
def with_credential(
    new_module_scene: MakeScene, paid: FakeProvider, variable: str
) -> tuple[Scene, Done, dict[str, Any], dict[int, tuple[bytes, bytes]]]:
    """A run with a credential: its living container, and the processes of this machine meanwhile."""
    scene = new_module_scene()
    scene.commit(plan__md=plan(task("1", "test -s env.txt && test -s proc.txt")))
    provider_at = ("-c", f"gateway.upstream={paid.url}")
    with scene.start("run", "plan.md", "--json", *provider_at, cwd=None, **{variable: CANARY}) as command:
        name = command.until("attempt_started")["container"]
        command.until_exists(scene.folder / "ready")
        found, processes = inspect(name), _processes_but(command.pid)
        scene.write("go", "")
        done = command.finish()
    assert done.exit_code == 0, done
    return scene, done, found, processes


def _processes_but(command: int) -> dict[int, tuple[bytes, bytes]]:
    """All but this one, which has the credential, at a moment when none is a copy of it.

    A child is a copy between its fork and its own program; one that stays a copy is in the answer.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        processes = _processes()
        copied = processes.pop(command)
        if copied not in processes.values() or time.monotonic() > deadline:
            return processes
        time.sleep(0.05)


def _processes() -> dict[int, tuple[bytes, bytes]]:
    """Command line and environment of every process that we may read."""
    seen = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            seen[int(folder.name)] = ((folder / "cmdline").read_bytes(), (folder / "environ").read_bytes())
        except OSError:
            continue
    return seen


WithCredential = tuple[Scene, Done, dict[str, Any], dict[int, tuple[bytes, bytes]]]


def test_the_provider_gets_the_credential_and_not_the_attempts_token(
    with_credential: WithCredential, paid: FakeProvider, variable: str
) -> None:
    _, _, found, _ = with_credential
    environment = dict(entry.split("=", 1) for entry in found["Config"]["Env"])
    token = environment[variable]
    assert {"ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"} & environment.keys() == {variable}
    assert len(paid.headers) >= len(STEPS)
    for headers in paid.headers:
        by_key, by_bearer = headers.get("x-api-key"), headers.get("authorization")
        flags = headers["anthropic-beta"].split(",")
        if variable == "ANTHROPIC_API_KEY":
            assert (by_key, by_bearer) == (CANARY, None) and "oauth-2025-04-20" not in flags
        else:
            assert (by_key, by_bearer) == (None, f"Bearer {CANARY}") and flags.count("oauth-2025-04-20") == 1
        assert token not in json.dumps(headers)


def test_with_two_credentials_the_user_says_which_one_counts(scene: Scene) -> None:
    scene.commit(plan__md=plan(task("1", "test -s made.txt")))
    with provider(script(t1=[bash("echo x > made.txt"), outcome()])) as fake:
        upstream = ("-c", f"gateway.upstream={fake.url}")
        both = {"ANTHROPIC_API_KEY": CANARY, "CLAUDE_CODE_OAUTH_TOKEN": "other"}
        refused = scene.run(*upstream, **both)
        done = scene.run(*upstream, "-c", "credentials.use=api_key", **both)
    assert refused.exit_code == 2, refused
    for word in (*both, "credentials.use"):
        assert word.encode() in refused.stderr
    assert done.exit_code == 0, done
    assert {(headers["x-api-key"], headers.get("authorization")) for headers in fake.headers} == {
        (CANARY, None)
    }


def test_the_credential_is_not_in_the_container(with_credential: WithCredential) -> None:
    scene, _, found, _ = with_credential
    assert CANARY not in json.dumps(found)
    for name in ("env.txt", "proc.txt"):
        text = (scene.folder / name).read_text(errors="replace")
        assert "ANTHROPIC_" in text
        assert CANARY not in text


def test_no_other_process_of_this_machine_knows_it(with_credential: WithCredential) -> None:
    _, _, _, processes = with_credential
    others = {pid: seen for pid, seen in processes.items() if CANARY.encode() in seen[0] + seen[1]}
    assert others == {}


def test_the_credential_is_neither_stored_nor_printed(with_credential: WithCredential) -> None:
    scene, done, _, _ = with_credential
    assert CANARY.encode() not in done.stdout + done.stderr
    searched = 0
    for parent, _, files in os.walk(scene.area):
        for name in files:
            path = Path(parent) / name
            if path.is_file() and not path.is_symlink():
                searched += 1
                assert CANARY.encode() not in path.read_bytes(), path
    assert searched > 50
    assert CANARY not in scene.git("log", "-p", "--all")
    with sqlite3.connect(scene.state / "journal.sqlite") as journal:
        dump = "\n".join(journal.iterdump())
    journal.close()
    assert "attempt_started" in dump and CANARY not in dump


def test_the_search_for_the_credential_can_find_it(
    with_credential: WithCredential, paid: FakeProvider
) -> None:
    """The one who typed the command has it in its environment: the same search finds it there."""
    with subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"], "KEY": CANARY}) as known:
        try:
            assert CANARY.encode() in _processes()[known.pid][1]
        finally:
            known.kill()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_parks_at_once(scene: Scene, status: int) -> None:
    scene.commit(plan__md=plan(task("1", "test -s made.txt")))
    with provider(script(t1=STEPS), refuse=status) as fake:
        done = scene.run("-c", f"gateway.upstream={fake.url}", ANTHROPIC_API_KEY=CANARY)
    assert done.exit_code == 4, done
    assert done.end["status"] == "parked"
    assert "credential refused" in done.end["reason"]
    assert [event["status"] for event in done.of("attempt_ended")] == ["parked"]
    assert 1 <= len(fake.headers) <= 2
    assert scene.containers() == []
    assert CANARY.encode() not in done.stdout + done.stderr


def test_resume_works_with_a_good_credential_after_a_refusal(scene: Scene) -> None:
    scene.commit(plan__md=plan(task("1", "test -s made.txt")))
    with provider(script(t1=STEPS), refuse=401) as fake:
        assert scene.run("-c", f"gateway.upstream={fake.url}", ANTHROPIC_API_KEY="old").exit_code == 4
    with provider(script(t1=[bash("echo x > made.txt"), outcome()])) as fake:
        upstream = ("-c", f"gateway.upstream={fake.url}")
        done = scene.orchestrator("resume", "--json", *upstream, ANTHROPIC_API_KEY=CANARY)
    assert done.exit_code == 0, done
    assert {headers["x-api-key"] for headers in fake.headers} == {CANARY}


def test_the_gateway_ends_after_the_run(with_credential: WithCredential) -> None:
    scene = with_credential[0]
    pids = [
        int(word[4:]) for word in (scene.state / "gateway.log").read_text().split() if word.startswith("pid=")
    ]
    deadline = time.monotonic() + 60
    while any(b"gateway" in _command_line(pid) for pid in pids):
        assert time.monotonic() < deadline, "the gateway does not end"
        time.sleep(0.2)
    assert docker("ps", "-q", "--filter", f"label=ktrdr.state={scene.state_id}") == ""


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def test_settings_mount_volumes_and_folders_into_the_container(scene: Scene) -> None:
    """As examples/ktrdr/orchestrator.toml does, copied as the user's file."""
    data = scene.area / "shared data"
    data.mkdir()
    (data / "prices.csv").write_text("1,2\n")
    configuration = scene.area / "home" / ".config" / "ktrdr-orchestrator" / "config.toml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(
        f'[[mounts]]\nsource = "{data}"\ntarget = "/shared/data"\nread_only = true\n'
        '[[mounts]]\nsource = "coding-agent-e2e-models"\ntarget = "/env/models"\n'
    )
    agent = f"{REPORT}\ncat /shared/data/prices.csv > made.txt; touch /shared/data/x\n"
    agent += "test -d /env/models && report completed\n"
    scene.commit(plan__md=plan(task("1", "grep -x 1,2 made.txt")), agent__sh=agent)
    try:
        done = scene.run(*AGENT)
    finally:
        docker("volume", "rm", "-f", "coding-agent-e2e-models")
    assert done.exit_code == 0, done
    assert [path.name for path in data.iterdir()] == ["prices.csv"]
