import pytest

from orchestrator.config import MountSetting
from orchestrator.errors import ConfigurationError


def mount(source="volume", target="/data", **more):
    return {"source": source, "target": target, **more}


def table(mounts):
    """The user's file with these mounts, four lines each: the header's line is known."""

    def value(each):
        return str(each).lower() if isinstance(each, bool) else repr(each)

    return "".join(
        "[[mounts]]\n" + "".join(f"{key} = {value(each)}\n" for key, each in m.items()) + "\n" for m in mounts
    )


GOOD = [
    ("volume", mount("coding-agent-models", "/env/models"), ("coding-agent-models", "/env/models", False)),
    ("host path", mount("/srv/data", "/shared/data", read_only=True), ("/srv/data", "/shared/data", True)),
    ("tilde", mount("~/data"), ("HOME/data", "/data", False)),
    ("home itself", mount("~"), ("HOME", "/data", False)),
    ("HOME", mount("${HOME}/d"), ("HOME/d", "/data", False)),
    ("odd name", mount("/srv/a b:c,d'é"), ("/srv/a b:c,d'é", "/data", False)),
    ("normalised", mount("/srv//x/./y/", "//data/"), ("/srv/x/y", "/data", False)),
    ("beside /workspace", mount(target="/workspaces"), ("volume", "/workspaces", False)),
    ("below /tmp", mount(target="/tmp/cache"), ("volume", "/tmp/cache", False)),
]


@pytest.mark.parametrize(("written", "expected"), [g[1:] for g in GOOD], ids=[g[0] for g in GOOD])
def test_valid_mounts(place, write, written, expected):
    write("user", table([written]))
    source, target, read_only = expected
    source = source.replace("HOME", str(place.home))
    assert place.load().settings.mounts == (MountSetting(source=source, target=target, read_only=read_only),)


def test_a_source_without_a_slash_is_a_volume():
    assert MountSetting(source="data", target="/d").is_volume
    assert not MountSetting(source="/data", target="/d").is_volume


BAD = [
    (mount("./data"), "name of a volume or an absolute path"),
    (mount("data/x"), "name of a volume or an absolute path"),
    (mount("~other/x"), "name of a volume or an absolute path"),
    (mount("x"), "name of a volume or an absolute path"),
    (mount(""), "needs a string for source"),
    (mount("/srv/../etc"), "without '..'"),
    (mount("/var/run/docker.sock"), "socket of the container engine"),
    (mount("/elsewhere/docker.sock"), "socket of the container engine"),
    (mount("/var/run"), "socket of the container engine"),
    (mount("/"), "socket of the container engine"),
    (mount("/custom"), "socket of the container engine"),
    (mount(3), "needs a string for source, not 3"),
    ({"target": "/data"}, "needs a string for source, not nothing"),
    ({"source": "volume"}, "needs a string for target, not nothing"),
    (mount(target="data"), "absolute path"),
    (mount(target="~/data"), "absolute path"),
    (mount(target="/data/../workspace"), "without '..'"),
    (mount(target="/"), "is reserved"),
    (mount(target="/workspace"), "/workspace is reserved"),
    (mount(target="//workspace/"), "/workspace is reserved"),
    (mount(target="/workspace/.git"), "/workspace is reserved"),
    (mount(target="/run"), "/run/orchestrator is reserved"),
    (mount(target="/run/orchestrator/in"), "/run/orchestrator is reserved"),
    (mount(target="/proc/1"), "/proc is reserved"),
    (mount(target="/tmp"), "which the container uses itself"),
    (mount(target="/run/docker.sock"), "socket"),
    (mount(read_only="yes"), "needs true or false for read_only"),
    (mount(readonly=True), "unknown key 'readonly'"),
    (mount(target="/good"), "overlaps '/good'"),
    (mount(target="/good/inner"), "overlaps '/good'"),
]


@pytest.mark.parametrize(("written", "what"), BAD, ids=[str(list(b[0].values())) for b in BAD])
def test_an_invalid_mount_is_refused_with_the_line_of_its_table(place, write, written, what):
    write("user", table([mount(target="/good"), written]))
    with pytest.raises(ConfigurationError) as caught:
        place.load(environ={"DOCKER_HOST": "unix:///custom/engine"})
    assert what in caught.value.what
    assert caught.value.where == f"{place.user_file}:5"


@pytest.mark.parametrize("written", ["1", "'a'", "['a']", "[[]]"])
def test_wrong_types(place, write, written):
    write("user", f"mounts = {written}\n")
    with pytest.raises(ConfigurationError, match="`mounts`"):
        place.load()
