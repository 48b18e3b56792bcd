"""The entries that give a container's user a name."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.containers.base import ContainerLimits, ContainerSpec
from orchestrator.containers.user_names import (
    add_group,
    add_user,
    make_archive,
    needs_entries,
    read_file,
    user_variables,
)
from orchestrator.mounts import Bind, Mount, Volume

IMAGE = b"root:x:0:0:root:/root:/bin/bash\nagent:x:1000:1000::/home/agent:/bin/bash\n"


def spec(**more: Any) -> ContainerSpec:
    limits = ContainerLimits(memory_bytes=1000, cpus=None, pids=1)
    fields = {"name": "n", "image": "i", "uid": 4321, "gid": 100, "limits": limits, "labels": {}}
    return ContainerSpec(**{**fields, **more})


@pytest.mark.parametrize("uid", [1, 1000, 4321, 2**32 - 2])
def test_our_entry_comes_first_and_those_of_the_image_stay(uid: int) -> None:
    first, *others = add_user(IMAGE, spec(uid=uid, env={"HOME": "/h"})).splitlines()
    assert first.split(b":")[:4] == [b"agent", b"x", str(uid).encode(), b"100"]
    assert first.endswith(b":/h:/bin/bash")
    assert others == IMAGE.splitlines()


def test_an_image_that_was_made_of_a_container_has_our_entry_once() -> None:
    earlier = add_user(IMAGE, spec(env={"HOME": "/of/setup"}))
    assert add_user(earlier, spec(env={"HOME": "/h"})) == add_user(IMAGE, spec(env={"HOME": "/h"}))


def test_a_file_without_a_line_feed_at_its_end_and_an_empty_home() -> None:
    assert add_user(b"root:x:0:0::/:/bin/sh", spec()).splitlines()[1] == b"root:x:0:0::/:/bin/sh"
    assert b":/tmp:" in add_user(b"", spec())


def test_a_group_of_the_image_keeps_its_name() -> None:
    group = b"root:x:0:\nusers:x:100:\n"
    assert add_group(group, 100) == group
    assert add_group(group, 4321) == b"agent:x:4321:\n" + group
    assert add_group(add_group(group, 4321), 4321) == add_group(group, 4321)


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ((), True),
        ((Volume(name="v", target="/data"), Bind(source=Path("/h"), target="/etc/passwd.d")), True),
        ((Bind(source=Path("/h"), target="/etc/passwd"),), False),
        ((Bind(source=Path("/h"), target="/etc/group"),), False),
        ((Volume(name="v", target="/etc"),), False),
    ],
)
def test_files_of_a_mount_are_left_alone(mounts: tuple[Mount, ...], expected: bool) -> None:
    assert needs_entries(spec(mounts=mounts)) == expected


def test_root_has_its_name_in_every_image() -> None:
    assert not needs_entries(spec(uid=0))
    assert user_variables(0) == {"USER": "root", "LOGNAME": "root"}


def test_only_a_regular_file_of_an_archive_is_read() -> None:
    assert read_file(make_archive({"passwd": IMAGE})) == IMAGE
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        link = tarfile.TarInfo("passwd")
        link.type, link.linkname = tarfile.SYMTYPE, "/nix/passwd"
        tar.addfile(link)
    assert read_file(packed.getvalue()) is None
    assert read_file(b"no archive") is None
    assert read_file(b"") is None
