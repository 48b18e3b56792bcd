"""Files that are read as settings; none of them can make the command wait."""

import os
import socket

import pytest

from orchestrator.errors import ConfigurationError


def refused(place):
    with pytest.raises(ConfigurationError) as caught:
        place.load()
    return caught.value


@pytest.mark.parametrize("which", ["repository_file", "user_file"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "socket", "dangling link", "link to itself"])
def test_only_a_regular_file_is_read_and_the_rest_is_refused_at_once(
    place, tmp_path, monkeypatch, which, kind
):
    path = getattr(place, which)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            monkeypatch.chdir(path.parent)  # a socket's path has at most 107 bytes
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path.name)
        case "dangling link":
            path.symlink_to("nothing")
        case _:
            path.symlink_to(path.name)
    error = refused(place)
    assert error.where == ("orchestrator.toml" if which == "repository_file" else str(path))
    assert error.exit_code == 2


def test_repositorys_file_may_not_be_a_link_out_of_it(place, tmp_path):
    (tmp_path / "outside.toml").write_text("limits.attempts = 1\n")
    place.repository_file.symlink_to(tmp_path / "outside.toml")
    assert "link that leads out of the repository" in refused(place).what


def test_repositorys_file_may_be_a_link_within_it_and_the_users_a_link_anywhere(place, tmp_path):
    (place.folder / "conf").mkdir()
    (place.folder / "conf/o.toml").write_text("limits.attempts = 1\n")
    place.repository_file.symlink_to("conf/o.toml")
    (tmp_path / "dotfiles.toml").write_text("agent.model = 'm'\n")
    place.user_file.symlink_to(tmp_path / "dotfiles.toml")
    settings = place.load().settings
    assert (settings.limits.attempts, settings.agent.model) == (1, "m")


def test_users_file_in_the_code_folder_is_refused(place):
    inside = place.folder / ".config/ktrdr-orchestrator"
    inside.mkdir(parents=True)
    (inside / "config.toml").write_text("image.name = 'evil'\n")
    with pytest.raises(ConfigurationError, match="an agent could change it"):
        place.load(environ={"XDG_CONFIG_HOME": str(place.folder / ".config")})


def test_scripted_model_of_the_repository_may_not_be_a_link_out_of_it(place, write, tmp_path):
    write("repository", "[gateway]\nscripted = 'model.toml'\n")
    (place.folder / "model.toml").symlink_to(tmp_path / "secret")
    assert refused(place).where == "orchestrator.toml:2"


def test_unreadable_file_is_an_error_and_not_an_absent_one(place):
    place.user_file.parent.mkdir(parents=True, exist_ok=True)
    place.user_file.symlink_to("/proc/self/mem")  # fails at its first byte, for root too
    assert "cannot be read" in refused(place).what
