"""The setting `mounts`: volumes and host folders for the coding agent container."""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.config.kinds import Host, Invalid, Kind, expand_home, is_printable, show_value

_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")
_KEYS = {"source", "target", "read_only"}

RESERVED_TARGETS = ("/workspace", "/run/orchestrator", "/proc", "/sys", "/dev")
"""Paths in the container that a target may neither contain nor be in. For a target in the code folder, the
engine would create an empty folder there that belongs to root. Orchestrator and engine use the others."""

ENGINE_SOCKETS = (
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/var/run/podman/podman.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
)
"""Where engines listen by default."""
_SOCKET_NAMES = ("docker.sock", "podman.sock", "containerd.sock", "crio.sock")


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSetting:
    source: str
    """A volume's name, or an absolute path of the host (then it begins with a slash)."""
    target: str
    """An absolute path in the container, without `.` and `..`."""
    read_only: bool = False

    @property
    def is_volume(self) -> bool:
        return not self.source.startswith("/")


def mount_list() -> Kind[tuple[MountSetting, ...]]:
    def parse(value: object) -> tuple[MountSetting, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise Invalid(f"must be a list: write [[mounts]] before each, not {show_value(value)}")
        found: list[MountSetting] = []
        for index, item in enumerate(value):
            try:
                mount = _parse_mount(item)
                for other in found:
                    if _holds(mount.target, other.target) or _holds(other.target, mount.target):
                        raise Invalid(
                            f"has the target {show_value(mount.target)}, "
                            f"which overlaps {show_value(other.target)}"
                        )
                found.append(mount)
            except Invalid as error:
                raise Invalid(str(error), item=index) from None
        return tuple(found)

    def locate(mounts: tuple[MountSetting, ...], host: Host) -> tuple[MountSetting, ...]:
        located: list[MountSetting] = []
        for index, mount in enumerate(mounts):
            try:
                located.append(replace(mount, source=_locate_source(mount.source, host)))
            except Invalid as error:
                raise Invalid(str(error), item=index) from None
        return tuple(located)

    text = "a list of tables with `source`, `target` and `read_only` (false)"
    return Kind(text=text, parse=parse, locate=locate)


def _parse_mount(item: object) -> MountSetting:
    if not isinstance(item, dict):
        raise Invalid(f"must be a list of tables, but contains {show_value(item)}")
    unknown = sorted(set(item) - _KEYS)
    if unknown:
        raise Invalid(f"has the unknown key {show_value(unknown[0])}; it takes source, target and read_only")
    read_only = item.get("read_only", False)
    if not isinstance(read_only, bool):
        raise Invalid(f"needs true or false for read_only, not {show_value(read_only)}")
    return MountSetting(
        source=_text(item, "source"),
        target=_parse_target(_text(item, "target")),
        read_only=read_only,
    )


def _text(item: dict[str, object], key: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value or not is_printable(value):
        raise Invalid(f"needs a string for {key}, not {'nothing' if value is None else show_value(value)}")
    return value


def _locate_source(written: str, host: Host) -> str:
    source = expand_home(written, host)
    if not source.startswith("/"):
        if _VOLUME.fullmatch(source) is None:
            raise Invalid(
                f"needs the name of a volume or an absolute path as source, not {show_value(written)}"
            )
        return source
    if ".." in source.split("/"):
        raise Invalid(f"needs a source without '..', not {show_value(written)}")
    source = _normal(source)
    if posixpath.basename(source) in _SOCKET_NAMES or any(_holds(source, each) for each in host.sockets):
        raise Invalid(
            f"must not mount {show_value(written)}: it is or contains the socket of the container engine"
        )
    return source


def _parse_target(written: str) -> str:
    if not written.startswith("/") or ".." in written.split("/"):
        raise Invalid(f"needs an absolute path without '..' as target, not {show_value(written)}")
    target = _normal(written)
    if target == "/tmp":  # noqa: S108 - the container's own
        raise Invalid("cannot have the target /tmp, which the container uses itself")
    for place in RESERVED_TARGETS:
        if _holds(target, place) or _holds(place, target):
            raise Invalid(f"cannot have the target {show_value(written)}, because {place} is reserved")
    if posixpath.basename(target) in _SOCKET_NAMES:
        raise Invalid(
            f"cannot have the target {show_value(written)}, which is the usual name of an engine's socket"
        )
    return target


def _normal(path: str) -> str:
    return "/" + posixpath.normpath(path).lstrip("/")


def _holds(folder: str, path: str) -> bool:
    """Whether the path is the folder or is in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
