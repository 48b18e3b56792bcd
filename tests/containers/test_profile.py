from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.mounts import ENGINE_SOCKETS
from orchestrator.containers.base import ContainerLimits, ContainerSpec
from orchestrator.containers.profile import (
    DEFAULT_LIMITS,
    attempt_command,
    create_body,
    docker_run_argv,
    refuse_engine_socket,
)
from orchestrator.errors import ConfigurationError
from orchestrator.mounts import AnonymousVolume, Bind, Overlay, Volume


def spec(**changes: Any) -> ContainerSpec:
    given: dict[str, Any] = {
        "name": "n", "image": "i:latest", "uid": 1000, "gid": 100, "limits": DEFAULT_LIMITS,
    }  # fmt: skip
    return ContainerSpec(**(given | changes))


def host_config(**changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = create_body(spec(**changes))["HostConfig"]
    return config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Init", True),
        ("Privileged", False),
        ("CapDrop", ["ALL"]),
        ("SecurityOpt", ["no-new-privileges"]),
        ("Memory", 4 * 1024**3),
        ("MemorySwap", 4 * 1024**3),
        ("PidsLimit", 512),
        ("NanoCpus", 0),
        ("NetworkMode", "bridge"),
        ("ExtraHosts", ["host.docker.internal:host-gateway"]),
        ("AutoRemove", False),
        ("RestartPolicy", {"Name": "no"}),
    ],
)
def test_the_profile_is_always_on(key: str, value: object) -> None:
    assert host_config()[key] == value


@pytest.mark.parametrize("key", ["Devices", "Binds", "CapAdd", "PidMode", "DeviceRequests"])
def test_what_would_open_a_wall_is_never_sent(key: str) -> None:
    assert key not in host_config()


def test_tmp_allows_programs_and_has_half_of_the_memory() -> None:
    config = host_config(limits=ContainerLimits(memory_bytes=1000, cpus=None, pids=1))
    options = set(config["Tmpfs"]["/tmp"].split(","))
    assert {"exec", "nosuid", "nodev", "mode=1777", "size=500"} <= options


def test_nothing_of_the_log_is_left_to_the_daemon() -> None:
    assert host_config()["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-size": "1000g", "max-file": "1", "compress": "false", "mode": "blocking"},
    }


def test_cpus_and_network_none() -> None:
    config = host_config(limits=ContainerLimits(memory_bytes=1000, cpus=1.5, pids=1), network="none")
    assert (config["NanoCpus"], config["NetworkMode"]) == (1_500_000_000, "none")


def test_mounts_keep_their_names_as_they_are() -> None:
    mounts = (
        Bind(source=Path("/a b:c,d\"'ü"), target="/workspace"),
        Volume(name="models", target="/models", read_only=True),
    )
    assert host_config(mounts=mounts)["Mounts"] == [
        {"Type": "bind", "Source": "/a b:c,d\"'ü", "Target": "/workspace", "ReadOnly": False},
        {"Type": "volume", "Source": "models", "Target": "/models", "ReadOnly": True},
    ]


def test_an_overlay_is_a_volume_of_the_local_driver() -> None:
    overlay = Overlay(target="/workspace/.venv", lower="/l:1/.venv", upper="/v/0/upper", work="/v/0/work")
    config = host_config(mounts=(overlay,), volumes_from="holder")
    (mount,) = config["Mounts"]
    assert (mount["Type"], mount["Target"]) == ("volume", "/workspace/.venv")
    driver = mount["VolumeOptions"]["DriverConfig"]
    assert (mount["VolumeOptions"]["NoCopy"], driver["Name"]) == (True, "local")
    assert driver["Options"] == {
        "type": "overlay",
        "device": "overlay",
        "o": "lowerdir=/l\\:1/.venv,upperdir=/v/0/upper,workdir=/v/0/work,index=off,redirect_dir=on",
    }
    assert config["VolumesFrom"] == ["holder:ro"]


@pytest.mark.parametrize("lower", ["/a,b", "/" + "x" * 4000])
def test_some_paths_cannot_be_options_of_an_overlay(lower: str) -> None:
    assert not Overlay(target="/t", lower=lower, upper="/u", work="/w").is_expressible


def test_the_user_is_the_owner_and_root_gets_is_sandbox() -> None:
    assert create_body(spec())["User"] == "1000:100"
    names = ["USER=agent", "LOGNAME=agent"]
    assert create_body(spec(env={"A": "1"}))["Env"] == [*names, "A=1"]
    root = create_body(spec(uid=0, env={"IS_SANDBOX": "0"}))["Env"]
    assert root == ["USER=root", "LOGNAME=root", "IS_SANDBOX=1"]


def test_a_variable_of_the_configuration_wins_over_the_users_name() -> None:
    assert create_body(spec(env={"USER": "ada"}))["Env"] == ["USER=ada", "LOGNAME=agent"]


def test_a_command_replaces_the_entry_point_and_none_leaves_the_images_own() -> None:
    assert create_body(spec(command=("a", "b")))["Entrypoint"] == ["a", "b"]
    assert create_body(spec(command=("a", "b")))["Cmd"] == []
    assert not {"Entrypoint", "Cmd"} & create_body(spec()).keys()


@pytest.mark.parametrize("source", ["/run/docker.sock", "/run", "/", "/var/run"])
def test_a_mount_that_holds_the_engines_socket_is_refused(source: str) -> None:
    with pytest.raises(ConfigurationError, match=r"docker\.sock"):
        refuse_engine_socket([source], ENGINE_SOCKETS)


@pytest.mark.parametrize("source", ["/home/me/code", "/run/docker.sock.d", "/run/orchestrator", "/var"])
def test_other_mounts_are_not(source: str) -> None:
    sockets = ["/run/docker.sock"]
    refuse_engine_socket([source], sockets)


def test_the_agent_reads_its_prompt_by_redirection_and_ends_at_the_limit() -> None:
    assert attempt_command(("claude", "-p"), limit_seconds=1.5, prompt_file="/in/it's.md") == (
        "timeout", "--foreground", "-k", "30", "2",
        "sh", "-c", "exec \"$@\" < '/in/it'\"'\"'s.md'", "sh", "claude", "-p",
    )  # fmt: skip


def test_the_docker_command_has_every_field_of_the_profile() -> None:
    """A field that is added to the profile has to be added to the command, too."""
    host = create_body(spec())["HostConfig"]
    known = {
        *("Init", "Privileged", "CapDrop", "SecurityOpt", "Memory", "MemorySwap", "NanoCpus", "PidsLimit"),
        *("Tmpfs", "Mounts", "VolumesFrom", "NetworkMode", "ExtraHosts", "LogConfig", "AutoRemove"),
        "RestartPolicy",
    }
    assert set(host) == known


def test_a_source_with_a_comma_is_one_field() -> None:
    mounts = (Bind(source=Path('/a,b"c'), target="/x", read_only=True), AnonymousVolume(target="/y"))
    argv = docker_run_argv(spec(mounts=mounts, env={"A": "1", "B": "2"}), by_name={"B"})
    assert 'type=bind,"source=/a,b""c",target=/x,readonly' in argv and "type=volume,target=/y" in argv
    assert "A=1" in argv and "B" in argv and "B=2" not in argv


def test_an_overlay_cannot_be_in_a_docker_command() -> None:
    overlay = Overlay(target="/workspace/x", lower="/l", upper="/u", work="/w")
    with pytest.raises(ValueError, match="/workspace/x"):
        docker_run_argv(spec(mounts=(overlay,)))
