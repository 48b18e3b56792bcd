"""The security profile of every container, as the body of the engine's create request: pure.

It always applies. No field of a ContainerSpec can weaken it.
"""

import math
import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from orchestrator.containers.base import ContainerLimits, ContainerSpec
from orchestrator.containers.user_names import user_variables
from orchestrator.errors import ConfigurationError
from orchestrator.mounts import AnonymousVolume, Bind, Mount, Overlay

GIGABYTE = 1024**3
DEFAULT_LIMITS = ContainerLimits(memory_bytes=4 * GIGABYTE, cpus=None, pids=512)
KILL_AFTER_SECONDS = 30

# The daemon's defaults may rotate, compress or drop log lines, and apply to every option that is not set
# here.
_LOGGING = {
    "Type": "json-file",
    "Config": {"max-size": "1000g", "max-file": "1", "compress": "false", "mode": "blocking"},
}


def create_body(spec: ContainerSpec) -> dict[str, Any]:
    """The request that creates this container."""
    body: dict[str, Any] = {
        "Image": spec.image,
        "User": f"{spec.uid}:{spec.gid}",
        "WorkingDir": spec.working_dir,
        "Env": [f"{name}={value}" for name, value in _environment(spec).items()],
        "Labels": dict(spec.labels),
        # A terminal would merge both output streams into one and change line ends, and the output is parsed.
        "Tty": False,
        "OpenStdin": False,
        "HostConfig": _host_config(spec),
    }
    if spec.command is not None:
        # As the entry point, so that an entry point of the image is not put in front of it.
        body |= {"Entrypoint": list(spec.command), "Cmd": []}
    return body


def docker_run_argv(spec: ContainerSpec, *, by_name: Collection[str] = ()) -> tuple[str, ...]:
    """The `docker run` command that makes the same container as `create_body`, from the same body.

    Of the variables in `by_name` only the name is in it: docker takes their values from its own environment.
    Raises ValueError for an overlay: its options cannot be given to the command.
    """
    body = create_body(spec)
    host = body["HostConfig"]
    options: list[tuple[str, str | None]] = [
        ("--name", spec.name),
        ("--user", body["User"]),
        ("--workdir", body["WorkingDir"]),
        *(("--env", _name_or_all(entry, by_name)) for entry in body["Env"]),
        *(("--label", f"{name}={value}") for name, value in body["Labels"].items()),
        ("--init", None),
        *(("--cap-drop", name) for name in host["CapDrop"]),
        *(("--security-opt", option) for option in host["SecurityOpt"]),
        ("--memory", str(host["Memory"])),
        ("--memory-swap", str(host["MemorySwap"])),
        *((("--cpus", f"{host['NanoCpus'] / 1e9:g}"),) if host["NanoCpus"] else ()),
        ("--pids-limit", str(host["PidsLimit"])),
        *(("--tmpfs", f"{path}:{how}") for path, how in host["Tmpfs"].items()),
        *(("--mount", _mount_option(mount)) for mount in host["Mounts"]),
        *(("--volumes-from", name) for name in host["VolumesFrom"]),
        ("--network", host["NetworkMode"]),
        *(("--add-host", entry) for entry in host["ExtraHosts"]),
        ("--log-driver", host["LogConfig"]["Type"]),
        *(("--log-opt", f"{name}={value}") for name, value in host["LogConfig"]["Config"].items()),
        ("--restart", host["RestartPolicy"]["Name"]),
    ]
    command = body.get("Entrypoint", [])
    words = [word for option, value in options for word in ((option,) if value is None else (option, value))]
    entry = ["--entrypoint", command[0]] if command else []
    return ("docker", "run", *words, *entry, spec.image, *command[1:])


def _name_or_all(entry: str, by_name: Collection[str]) -> str:
    name = entry.partition("=")[0]
    return name if name in by_name else entry


def _mount_option(mount: dict[str, Any]) -> str:
    if "VolumeOptions" in mount:
        raise ValueError(f"the overlay at {mount['Target']}")
    source = [f"source={mount['Source']}"] if "Source" in mount else []
    fields = [f"type={mount['Type']}", *source, f"target={mount['Target']}"]
    fields += ["readonly"] if mount["ReadOnly"] else []
    # Docker reads the option as a row of CSV.
    quoted = ['"' + each.replace('"', '""') + '"' if {",", '"'} & {*each} else each for each in fields]
    return ",".join(quoted)


def refuse_engine_socket(sources: Iterable[str], sockets: Iterable[str]) -> None:
    """Raises ConfigurationError when a host path is, or holds, one of the engine's sockets.

    A process that can write to that socket is root on the host. Paths are compared literally: the caller
    resolves links.
    """
    for source in sources:
        for socket in sockets:
            if PurePosixPath(socket).is_relative_to(PurePosixPath(source)):
                raise ConfigurationError(
                    f"mounting this would put the container engine's socket {socket} into the container",
                    where=source,
                    hint="Mount something else: a process that reaches that socket is root on this machine.",
                )


def attempt_command(argv: Sequence[str], *, limit_seconds: float, prompt_file: str) -> tuple[str, ...]:
    """The main process of an attempt: the agent with its prompt on standard input, and its own time limit.

    The prompt is a redirection inside the container, because an attached stdin that breaks looks like a clean
    end of input. `timeout` runs inside the container, so the limit holds even if the orchestrator is killed
    and never resumed: SIGTERM, then SIGKILL.
    """
    redirected = f'exec "$@" < {shlex.quote(prompt_file)}'
    limit = str(math.ceil(limit_seconds))
    wrapper = ("timeout", "--foreground", "-k", str(KILL_AFTER_SECONDS), limit)
    return (*wrapper, "sh", "-c", redirected, "sh", *argv)


def _environment(spec: ContainerSpec) -> dict[str, str]:
    names = user_variables(spec.uid)
    # Claude Code refuses --dangerously-skip-permissions for uid 0 unless this says that it is contained.
    root = {"IS_SANDBOX": "1"} if spec.uid == 0 else {}
    return {**names, **spec.env, **root}


def _host_config(spec: ContainerSpec) -> dict[str, Any]:
    return {
        # A main process that collects the processes of an agent that have ended: agents start programs in the
        # background, and zombies would use up PidsLimit. It also passes signals on to the agent.
        "Init": True,
        "Privileged": False,
        # A program of the image with the setuid bit gains nothing: no capability exists in the container, and
        # no process can get one. This also holds where the agent runs as root, because root owns the folder.
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Memory": spec.limits.memory_bytes,
        # Equal to Memory, so without swap: a process that leaks memory is killed in its own container,
        # instead of making the whole host swap.
        "MemorySwap": spec.limits.memory_bytes,
        "NanoCpus": 0 if spec.limits.cpus is None else round(spec.limits.cpus * 1e9),
        # A loop that starts processes is stopped at this number, before the host can start no process any
        # more.
        "PidsLimit": spec.limits.pids,
        # Pages of /tmp count as the container's memory. With half of it, a full /tmp says "no space" before
        # the kernel kills a process for the memory.
        "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={spec.limits.memory_bytes // 2}"},  # noqa: S108 - in the container, not on the host
        "Mounts": [_mount(mount) for mount in spec.mounts],
        "VolumesFrom": [] if spec.volumes_from is None else [f"{spec.volumes_from}:ro"],
        "NetworkMode": "none" if spec.network == "none" else "bridge",
        "ExtraHosts": ["host.docker.internal:host-gateway"],
        "LogConfig": _LOGGING,
        # The container stays after its end. If the owner of the run was killed, the next one still reads the
        # exit code and the last output from it.
        "AutoRemove": False,
        # After a restart of the engine an agent must not begin again by itself: it would work, and cost
        # money, while no run follows it.
        "RestartPolicy": {"Name": "no"},
    }


def _mount(mount: Mount) -> dict[str, Any]:
    if isinstance(mount, AnonymousVolume):
        return {"Type": "volume", "Target": mount.target, "ReadOnly": False}
    if isinstance(mount, Overlay):
        options = {"type": "overlay", "device": "overlay", "o": mount.options}
        driver = {"NoCopy": True, "DriverConfig": {"Name": "local", "Options": options}}
        return {"Type": "volume", "Target": mount.target, "ReadOnly": False, "VolumeOptions": driver}
    common = {"Target": mount.target, "ReadOnly": mount.read_only}
    if isinstance(mount, Bind):
        return {"Type": "bind", "Source": str(mount.source), **common}
    return {"Type": "volume", "Source": mount.name, **common}
