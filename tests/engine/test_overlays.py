"""Mounts over the code folder in an attempt, and that nothing of them stays."""

import os
from pathlib import Path

import pytest

from orchestrator.engine.overlays import make_mount_points, mask_mounts, remove_overlay_folders
from orchestrator.mounts import Bind
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.subprocesses import Identity

OTHER = Identity(uid=1234, gid=1234)
OWNER = OTHER if os.geteuid() == 0 else Identity(uid=os.geteuid(), gid=os.getegid())


@pytest.fixture
def folders(tmp_path: Path) -> AttemptFolders:
    root = tmp_path / "attempt"
    root.mkdir()
    return AttemptFolders(root=root)


def covered(folder: Path, folders: AttemptFolders, *paths: str) -> list[str]:
    return list(make_mount_points(folder, OWNER, paths, folders))


def test_a_missing_folder_is_made_as_its_owner_and_removed_again(
    folder: Path, folders: AttemptFolders
) -> None:
    (folder / "web").mkdir()
    assert covered(folder, folders, ".venv/", "web/node_modules/") == [
        ".venv",
        "web/node_modules",
    ]
    made = folder / "web" / "node_modules"
    assert (made.stat().st_uid, made.stat().st_gid) == (OWNER.uid, OWNER.gid)
    remove_overlay_folders(folder, folders)
    assert [path.name for path in folder.rglob("*")] == ["web"]


def test_the_users_own_folder_stays_empty_or_not(folder: Path, folders: AttemptFolders) -> None:
    (folder / ".venv").mkdir()
    assert covered(folder, folders, ".venv/") == [".venv"]
    remove_overlay_folders(folder, folders)
    assert (folder / ".venv").is_dir()


def test_a_made_folder_that_has_content_by_now_stays(folder: Path, folders: AttemptFolders) -> None:
    covered(folder, folders, ".venv/")
    (folder / ".venv" / "file").write_text("from another program")
    remove_overlay_folders(folder, folders)
    assert (folder / ".venv" / "file").exists()


@pytest.mark.parametrize("what", ["link", "link to nothing", "file", "link above", "nothing above"])
def test_a_place_that_is_taken_is_not_covered_and_is_not_touched(
    folder: Path, folders: AttemptFolders, what: str
) -> None:
    path = "deps"
    if what == "link":
        (folder / "elsewhere").mkdir()
        (folder / path).symlink_to("elsewhere")
    elif what == "link to nothing":
        (folder / path).symlink_to("nothing")
    elif what == "file":
        (folder / path).write_text("x")
    elif what == "link above":
        (folder / "elsewhere").mkdir()
        (folder / "web").symlink_to("elsewhere")
        path = "web/deps"
    else:
        path = "web/deps"
    before = sorted(str(each) for each in folder.rglob("*"))
    assert covered(folder, folders, f"{path}/") == []
    remove_overlay_folders(folder, folders)
    assert sorted(str(each) for each in folder.rglob("*")) == before


def test_caches_of_compiled_files_are_not_covered(folder: Path, folders: AttemptFolders) -> None:
    (folder / "src").mkdir()
    assert covered(folder, folders, "src/__pycache__/") == []


def masked(folder: Path, folders: AttemptFolders, *paths: str) -> dict[str, str]:
    mounts = mask_mounts(folder, paths, folders)
    assert all(isinstance(mount, Bind) and mount.read_only for mount in mounts)
    return {mount.target: mount.source.name for mount in mounts if isinstance(mount, Bind)}


def test_files_are_masked_by_a_file_and_folders_by_a_folder(folder: Path, folders: AttemptFolders) -> None:
    (folder / ".env").write_text("x")
    (folder / "secrets").mkdir()
    assert masked(folder, folders, ".env", "secrets", "absent") == {
        "/workspace/.env": "file",
        "/workspace/secrets": "folder",
    }


def test_the_target_of_a_link_is_masked(folder: Path, folders: AttemptFolders) -> None:
    (folder / "config").mkdir()
    (folder / "config" / "env").write_text("x")
    (folder / ".env").symlink_to("config/env")
    assert masked(folder, folders, ".env") == {"/workspace/config/env": "file"}


@pytest.mark.parametrize("leads_to", ["../outside", "nothing", ".git/config", "pipe", "."])
def test_a_link_to_something_that_cannot_be_masked_is_left_alone(
    folder: Path, folders: AttemptFolders, leads_to: str
) -> None:
    (folder.parent / "outside").write_text("not visible in the container")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("")
    os.mkfifo(folder / "pipe")
    (folder / ".env").symlink_to(leads_to)
    assert masked(folder, folders, ".env") == {}
