"""The order of the sources of a setting, and how the source of a value is reported."""

import sys
from pathlib import Path

import pytest

from orchestrator import subprocesses
from orchestrator.config import MountSetting, Override, Settings, load_settings
from orchestrator.config.settings import TABLE


def test_without_any_source_everything_is_default(place):
    loaded = place.load()
    assert loaded.settings == Settings()
    assert set(loaded.sources.values()) == {"default"}
    assert list(loaded.sources) == list(TABLE)
    assert loaded.repository_file is None


def test_defaults_are_those_of_the_contract():
    settings = Settings()
    assert (settings.agent.name, settings.agent.max_turns, settings.agent.min_tool_calls) == (
        "claude-code",
        100,
        1,
    )
    assert (settings.limits.attempts, settings.limits.attempt_seconds, settings.limits.output_bytes) == (
        3,
        14400,
        1e9,
    )
    assert settings.limits.after_result_seconds == 60
    assert settings.image.name == "ktrdr-coding-agent:latest"
    assert (settings.container.memory, settings.container.cpus, settings.container.pids) == (
        4 << 30,
        None,
        512,
    )
    assert (settings.verify.timeout, settings.verify.smoke_tests, settings.handoff.commit) == (
        600,
        False,
        True,
    )


LADDER = [
    ("orchestrator.toml:2", 1, {}),
    ("USER:2", 2, {"user"}),
    ("ORCHESTRATOR_LIMITS_ATTEMPTS", 4, {"user", "environment"}),
    ("-c", 5, {"user", "environment", "flag"}),
    ("-c", 5, {"flag"}),
]


@pytest.mark.parametrize(("source", "attempts", "also"), LADDER)
def test_later_source_wins(place, write, source, attempts, also):
    write("repository", "[limits]\nattempts = 1\n")
    if "user" in also:
        write("user", "[limits]\nattempts = 2\n")
    loaded = place.load(
        environ={"ORCHESTRATOR_LIMITS_ATTEMPTS": "4"} if "environment" in also else {},
        overrides=["limits.attempts=5"] if "flag" in also else [],
    )
    assert loaded.settings.limits.attempts == attempts
    assert loaded.sources["limits.attempts"] == source.replace("USER", str(place.user_file))


def test_lists_replace_and_sections_merge(place, write):
    write("repository", '[verify]\ntask = ["make a", "make b"]\ntimeout = 60\n')
    write("user", '[verify]\ntask = ["make c"]\n')
    verify = place.load().settings.verify
    assert verify.task == ("make c",)
    assert verify.timeout == 60


def test_rows_have_the_value_as_written_and_its_source(place, write):
    write("user", '\n[container]\nmemory = "512m"\n')
    row = next(row for row in place.load().rows if row.key == "container.memory")
    assert (row.value, row.source) == ("512m", f"{place.user_file}:3")


def test_xdg_config_home_moves_the_users_file(place, tmp_path):
    elsewhere = tmp_path / "elsewhere/ktrdr-orchestrator"
    elsewhere.mkdir(parents=True)
    (elsewhere / "config.toml").write_text("limits.attempts = 7\n")
    loaded = place.load(environ={"XDG_CONFIG_HOME": str(tmp_path / "elsewhere")})
    assert loaded.settings.limits.attempts == 7


def test_a_stored_copy_replaces_the_folders_file(place, write):
    write("repository", "limits.attempts = 1\n")
    loaded = load_settings(place.folder, environ=place.environ, repository_file=b"limits.attempts = 2\n")
    assert loaded.settings.limits.attempts == 2
    assert loaded.repository_file == b"limits.attempts = 2\n"
    assert place.load().repository_file == b"limits.attempts = 1\n"


def test_without_folder_only_the_users_sources_count(place, write):
    write("user", "limits.attempts = 9\n")
    assert load_settings(None, environ=place.environ).settings.limits.attempts == 9


TEXTS = [
    ("agent.model", "claude-x", "agent.model=claude-x", "claude-x"),
    ("agent.model", "5", "agent.model=5", "5"),
    ("agent.model", "quoted", 'agent.model="quoted"', "quoted"),
    ("agent.model", "a=b", "agent.model=a=b", "a=b"),
    ("container.memory", 512 << 20, "container.memory=512m", "512m"),
    ("container.memory", 3 << 29, "container.memory=1.5 GiB", "1.5 GiB"),
    ("container.memory", 1 << 30, "container.memory=1073741824", 1073741824),
    ("container.cpus", 1.5, "container.cpus=1.5", 1.5),
    ("container.cpus", None, "container.cpus=all", "all"),
    ("verify.smoke_tests", True, "verify.smoke_tests=true", True),
    ("verify.task", ("a b", "c\nd"), 'verify.task=["a b", "c\\nd"]', ["a b", "c\nd"]),
    ("limits.output_bytes", 2_000_000, "limits.output_bytes=2e6", 2e6),
    ("gateway.upstream", "http://localhost:8080", "gateway.upstream=http://localhost:8080/", None),
    ("gateway.scripted", Path("models/m.toml"), "gateway.scripted=models/m.toml", None),
    ("image.name", "other:1", "image.name=other:1", "other:1"),
    ("agent.command", ("bash", "agent.sh"), 'agent.command=["bash", "agent.sh"]', None),
]


@pytest.mark.parametrize(("key", "expected", "text", "written"), TEXTS, ids=[each[2] for each in TEXTS])
def test_a_text_means_the_same_in_a_flag_and_a_variable(place, key, expected, text, written):
    section, name = key.split(".")
    value = text.partition("=")[2]
    by_flag = place.load(overrides=[text])
    by_variable = place.load(environ={f"ORCHESTRATOR_{section}_{name}".upper(): value})
    assert getattr(getattr(by_flag.settings, section), name) == expected
    assert by_variable.settings == by_flag.settings
    if written is not None:
        assert next(row.value for row in by_flag.rows if row.key == key) == written


def test_mounts_by_flag(place):
    loaded = place.load(overrides=['mounts=[{source="data", target="/data"}]'])
    assert loaded.settings.mounts == (MountSetting(source="data", target="/data"),)


def test_flag_of_its_own_carries_its_name_and_typed_value(place):
    loaded = place.load(
        overrides=[Override(key="agent.command", value=["sh", "-c", "x"], flag="--agent-command")]
    )
    assert loaded.settings.agent.command == ("sh", "-c", "x")
    assert loaded.sources["agent.command"] == "--agent-command"


SILENT = {
    "reserved": {
        "ORCHESTRATOR_RUN": "r",
        "ORCHESTRATOR_TASK": "1.1",
        "ORCHESTRATOR_ATTEMPT": "1",
        "ORCHESTRATOR_OUTCOME": "/run/o",
    },
    "empty": {"ORCHESTRATOR_LIMITS_ATTEMPTS": ""},
    "of another program": {"ORCHESTRATOR": "x", "ORCHESTRATORX_A_B": "x", "ORCHESTRATOR_URL": "x"},
}


@pytest.mark.parametrize("environ", SILENT.values(), ids=SILENT)
def test_variables_that_are_not_settings(place, environ):
    assert place.load(environ=environ).settings == Settings()


async def test_loading_settings_imports_nothing_heavy(place):
    code = (
        "import sys; from pathlib import Path; from orchestrator.config import load_settings;"
        f"load_settings(Path({str(place.folder)!r}), environ={place.environ!r}, overrides=['agent.name=m']);"
        "print([m for m in ('asyncio', 'aiohttp', 'msgspec', 'sqlite3', 'markdown_it') if m in sys.modules])"
    )
    done = await subprocesses.run([sys.executable, "-c", code], timeout=60)
    assert (done.stdout, done.stderr) == (b"[]\n", b"")
