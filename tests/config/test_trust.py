"""What the repository's file may choose. Every setting stands in exactly one of these lists."""

import pytest

from orchestrator.config.settings import TABLE
from orchestrator.errors import ConfigurationError

FREE = {
    "agent.name": "'nop'",
    "agent.command": "['bash', 'agent.sh']",
    "agent.model": "'m'",
    "container.network": "'open'",
    "setup.commands": "['make deps']",
    "setup.discover": "false",
    "verify.build": "['make']",
    "environment.variables": "{TZ = 'UTC'}",
    "masked.files": "['.env']",
    "verify.task": "['make test']",
    "verify.milestone": "['make e2e']",
    "verify.timeout": "100000",
    "verify.smoke_tests": "true",
    "environment.required_files": "['Makefile']",
    "handoff.commit": "false",
}
NEEDS_TRUST = {
    "image.name": "'other:latest'",
    "image.packages": "['golang-go']",
    "image.dockerfile": "'deploy/Dockerfile'",
    "mounts": "[{source = 'volume', target = '/data'}]",
    "gateway.upstream": "'https://example.org'",
}
FREE_UP_TO = {
    # free, needs trust
    "agent.max_turns": ("50", "101"),
    "agent.min_tool_calls": ("2", "0"),
    "limits.attempts": ("1", "4"),
    "limits.attempt_seconds": ("60", "14401"),
    "limits.output_bytes": ("1000", "1_000_000_001"),
    "container.memory": ("'1g'", "'5g'"),
    "container.cpus": ("1.5", None),
    "container.pids": ("100", "513"),
    "gateway.scripted": ("'models/scripted.toml'", "'../scripted.toml'"),
}


def test_every_setting_is_in_one_list():
    listed = [*FREE, *NEEDS_TRUST, *FREE_UP_TO]
    assert sorted(listed) == sorted(TABLE)


ACCEPTED = FREE | {key: free for key, (free, _) in FREE_UP_TO.items()}
REFUSED = NEEDS_TRUST | {key: high for key, (_, high) in FREE_UP_TO.items() if high is not None}


@pytest.mark.parametrize("key", ACCEPTED)
def test_taken_from_the_repositorys_file(place, write, key):
    write("repository", f"{key} = {ACCEPTED[key]}\n")
    assert place.load().sources[key] == "orchestrator.toml:1"


@pytest.mark.parametrize("key", REFUSED)
def test_not_taken_from_the_repositorys_file(place, write, key):
    write("repository", f"\n{key} = {REFUSED[key]}\n")
    with pytest.raises(ConfigurationError) as caught:
        place.load()
    assert caught.value.where == "orchestrator.toml:2"
    assert f"`{key}`" in caught.value.what and TABLE[key].trust.reason in caught.value.what
    assert str(place.user_file) in (caught.value.hint or "")


@pytest.mark.parametrize("key", REFUSED)
def test_taken_from_the_users_file_variable_and_flag(place, write, key):
    write("user", f"{key} = {REFUSED[key]}\n")
    assert place.load().sources[key] == f"{place.user_file}:1"
    variable = f"ORCHESTRATOR_{key.replace('.', '_').upper()}"
    assert place.load(environ={variable: REFUSED[key]}).sources[key] == variable
    assert place.load(overrides=[f"{key}={REFUSED[key]}"]).sources[key] == "-c"


@pytest.mark.parametrize("path", ["/etc/passwd", "~/x", "$HOME/x", "${HOME}/x", "a/../../x", ".."])
def test_scripted_model_outside_of_the_repository(place, write, path):
    write("repository", f"gateway.scripted = '{path}'\n")
    with pytest.raises(ConfigurationError, match="outside the folder"):
        place.load()


def test_untrusted_value_is_refused_also_when_a_later_source_would_win(place, write):
    write("repository", "image.name = 'other'\n")
    with pytest.raises(ConfigurationError, match=r"image\.name"):
        place.load(overrides=["image.name=mine"])


@pytest.mark.parametrize("key", [key for key, setting in TABLE.items() if setting.written is not None])
def test_default_may_be_written_down(place, write, key):
    default = TABLE[key].written
    text = str(default).lower() if isinstance(default, bool) else repr(default)
    write("repository", f"{key} = {text}\n")
    assert place.load().sources[key] == "orchestrator.toml:1"
