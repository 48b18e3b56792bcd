"""Values that the repository's file may choose. Every setting is in exactly one of these lists."""

import json
import os
import tomllib
from pathlib import Path

import pytest

from orchestrator.config import load_settings, write_approval
from orchestrator.config.settings import TABLE
from orchestrator.errors import ConfigurationError

FREE = {
    "limits.keep_awake": "false",
    "agent.name": "'nop'",
    "agent.command": "['bash', 'agent.sh']",
    "agent.model": "'m'",
    "container.network": "'open'",
    "setup.commands": "['make deps']",
    "setup.discover": "false",
    "setup.folders": "['web']",
    "verify.build": "['make']",
    "masked.files": "['.env']",
    "verify.task": "['make test']",
    "verify.milestone": "['make e2e']",
    "limits.outage_seconds": "60",
    "verify.timeout": "100000",
    "verify.require": "true",
    "verify.strict": "true",
    "verify.flaky": "'fail'",
    "verify.fail_fast": "true",
    "verify.smoke_tests": "true",
    "environment.required_files": "['Makefile']",
    "handoff.commit": "false",
    "commit.subject": "'{title} ({task})'",
}
NEEDS_TRUST = {
    "image.name": "'other:latest'",
    "image.packages": "['golang-go']",
    "image.dockerfile": "'deploy/Dockerfile'",
    "mounts": "[{source = 'volume', target = '/data'}]",
    "gateway.upstream": "'https://example.org'",
    "credentials.command": "['pass', 'show', 'anthropic']",
    "credentials.source": "'keyring:anthropic'",
    "credentials.use": "'oauth_token'",
    "environment.checks": "[{run = 'true'}]",
    "landing.allow": "['.env']",
}
FREE_UP_TO = {
    # free, needs trust
    "agent.max_turns": ("50", "101"),
    "agent.min_tool_calls": ("2", "0"),
    "limits.attempts": ("1", "4"),
    "limits.failed_tasks": ("1", "2"),
    "limits.attempt_seconds": ("60", "14401"),
    "limits.after_result_seconds": ("5", "61"),
    "limits.output_bytes": ("1000", "1_000_000_001"),
    "container.memory": ("'1g'", "'5g'"),
    "container.cpus": ("1.5", None),
    "container.pids": ("100", "513"),
    "verify.red_to_green": ("true", "false"),
    "verify.discover": ("true", "false"),
    "verify.base": ("'green'", "'no_worse'"),
    "gateway.scripted": ("'models/scripted.toml'", "'../scripted.toml'"),
    "environment.variables": ("{TZ = 'UTC'}", "{BASH_ENV = '/workspace/.trap', TZ = 'UTC'}"),
}


def test_every_setting_is_in_one_list():
    listed = [*FREE, *NEEDS_TRUST, *FREE_UP_TO]
    assert sorted(listed) == sorted(TABLE)


ACCEPTED = FREE | {key: free for key, (free, _) in FREE_UP_TO.items()}
REFUSED = NEEDS_TRUST | {key: high for key, (_, high) in FREE_UP_TO.items() if high is not None}
CHANGED = {
    "image.name": "'third:latest'",
    "image.packages": "['jq']",
    "image.dockerfile": "'other/Dockerfile'",
    "mounts": "[{source = '/srv', target = '/data'}]",
    "gateway.upstream": "'https://example.org/other'",
    "credentials.command": "['pass', 'show', 'other']",
    "credentials.source": "'keyring:other'",
    "credentials.use": "'api_key'",
    "environment.checks": "[{run = 'false'}]",
    "landing.allow": "['.env', '.mcp.json']",
    "agent.max_turns": "102",
    "agent.min_tool_calls": "0.0",
    "limits.attempts": "5",
    "verify.base": "'any'",
    "limits.failed_tasks": "3",
    "limits.attempt_seconds": "14402",
    "limits.after_result_seconds": "62",
    "limits.output_bytes": "1_000_000_002",
    "container.memory": "'6g'",
    "container.pids": "514",
    "gateway.scripted": "'../other.toml'",
    "environment.variables": "{LD_PRELOAD = '/workspace/trap.so'}",
}
"""Another value of each, that needs approval too."""


WITHOUT_ANOTHER = {"verify.discover", "verify.red_to_green"}
"""Of two values, only one needs approval."""


def test_every_refused_setting_has_another_value():
    assert sorted(CHANGED) == sorted(REFUSED.keys() - WITHOUT_ANOTHER)


def toml_value(text):
    return tomllib.loads(f"x = {text}")["x"]


def state(place):
    path = place.home / ".local/state/ktrdr-orchestrator"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def approve(place):
    """As the command does: exactly what is in the file now."""
    loaded = place.load(leave_out_unapproved=True)
    write_approval(state(place), place.folder, {each.key: each.value for each in loaded.needing_approval})


@pytest.mark.parametrize("key", ACCEPTED)
def test_taken_from_the_repositorys_file(place, write, key):
    write("repository", f"{key} = {ACCEPTED[key]}\n")
    assert place.load().sources[key] == "orchestrator.toml:1"


@pytest.mark.parametrize("key", REFUSED)
def test_not_taken_from_the_repositorys_file_without_approval(place, write, key):
    write("repository", f"\n{key} = {REFUSED[key]}\n")
    with pytest.raises(ConfigurationError) as caught:
        place.load()
    assert caught.value.where == "orchestrator.toml:2"
    assert f"`{key}`" in caught.value.what and TABLE[key].trust.reason in caught.value.what
    hint = caught.value.hint or ""
    assert "orchestrator trust" in hint and str(place.user_file) in hint


@pytest.mark.parametrize("key", REFUSED)
def test_left_out_without_an_error_on_request(place, write, key):
    write("repository", f"{key} = {REFUSED[key]}\n")
    loaded = place.load(leave_out_unapproved=True)
    assert [each.key for each in loaded.unapproved] == [key]
    assert loaded.sources[key] == "default"


@pytest.mark.parametrize("key", CHANGED)
def test_taken_once_approved_and_not_after_a_change(place, write, key):
    write("repository", f"{key} = {REFUSED[key]}\n")
    approve(place)
    loaded = place.load()
    assert (loaded.sources[key], loaded.unapproved) == ("orchestrator.toml:1", ())
    assert [each.key for each in loaded.needing_approval] == [key]

    write("repository", f"{key} = {CHANGED[key]}\n")
    with pytest.raises(ConfigurationError) as caught:
        place.load()
    assert "has changed since you approved it" in caught.value.what
    old, new = (toml_value(values[key]) for values in (REFUSED, CHANGED))
    assert f"\n- {json.dumps(old)}\n+ {json.dumps(new)}" in caught.value.what
    write("repository", f"{key} = {REFUSED[key]}\n")
    assert place.load().unapproved == ()


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


def test_an_unapproved_value_is_refused_even_when_a_later_source_overrides_it(place, write):
    write("repository", "image.name = 'other'\n")
    with pytest.raises(ConfigurationError, match=r"image\.name"):
        place.load(overrides=["image.name=mine"])


@pytest.mark.parametrize("key", [key for key, setting in TABLE.items() if setting.written is not None])
def test_a_default_value_needs_no_approval(place, write, key):
    default = TABLE[key].written
    text = str(default).lower() if isinstance(default, bool) else repr(default)
    write("repository", f"{key} = {text}\n")
    assert place.load().sources[key] == "orchestrator.toml:1"


IMAGE = "image.name = 'other'\n"


def test_approval_of_one_value_does_not_cover_another(place, write):
    write("repository", IMAGE)
    approve(place)
    write("repository", IMAGE + "mounts = [{source = '/srv', target = '/data'}]\n")
    with pytest.raises(ConfigurationError, match="`mounts` needs your approval"):
        place.load()


def test_an_approved_value_can_be_removed(place, write):
    write("repository", IMAGE + "limits.attempts = 9\n")
    approve(place)
    write("repository", "limits.attempts = 9\n")
    assert place.load().settings.limits.attempts == 9


def test_all_unapproved_values_are_counted(place, write):
    write("repository", IMAGE + "limits.attempts = 9\ncontainer.pids = 1000\n")
    with pytest.raises(ConfigurationError, match="and 2 more"):
        place.load()


def test_approval_is_for_one_folder(place, write):
    write("repository", IMAGE)
    approve(place)
    other = place.folder.with_name("other")
    place.folder.rename(other)
    with pytest.raises(ConfigurationError, match="needs your approval"):
        load_settings(other, environ=place.environ)


def test_approval_counts_through_a_link_to_the_folder(place, write, tmp_path):
    write("repository", IMAGE)
    approve(place)
    (tmp_path / "link").symlink_to(place.folder)
    assert load_settings(tmp_path / "link", environ=place.environ).settings.image.name == "other"


def test_an_approved_scripted_model_may_be_outside_of_the_repository(place, write):
    write("repository", "gateway.scripted = '../scripted.toml'\n")
    approve(place)
    assert str(place.load().settings.gateway.scripted) == "../scripted.toml"


def spoil_link(record):
    aside = record.with_name("aside")
    record.rename(aside)
    record.symlink_to(aside)


SPOILED = {
    "open to the group": lambda record: record.chmod(0o660),
    "folder open to others": lambda record: record.parent.chmod(0o777),
    "state folder open to others": lambda record: record.parent.parent.chmod(0o777),
    "a link": spoil_link,
    "no JSON": lambda record: record.write_text("{"),
    "another shape": lambda record: record.write_text("[]"),
    "of another repository": lambda record: record.write_text(
        record.read_text().replace("code folder", "other folder")
    ),
    "gone": lambda record: record.unlink(),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_spoiled_record_approves_nothing(place, write, spoil):
    write("repository", IMAGE)
    approve(place)
    (record,) = (state(place) / "trust").iterdir()
    spoil(record)
    with pytest.raises(ConfigurationError, match="needs your approval"):
        place.load()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_record_of_another_user_approves_nothing(place, write):
    write("repository", IMAGE)
    approve(place)
    (record,) = (state(place) / "trust").iterdir()
    os.chown(record, 1234, 1234)
    with pytest.raises(ConfigurationError, match="needs your approval"):
        place.load()


def test_what_a_run_was_started_with_stays_approved(place):
    loaded = load_settings(place.folder, environ=place.environ, repository_file=IMAGE.encode())
    assert loaded.settings.image.name == "other"


def test_a_dockerfile_is_approved_with_what_is_in_it(place, write):
    write("repository", "image.dockerfile = 'image/Dockerfile'\n")
    dockerfile = place.folder / "image" / "Dockerfile"
    dockerfile.parent.mkdir()
    dockerfile.write_text("FROM ktrdr-coding-agent:latest\nRUN true\n")
    approve(place)
    assert place.load().unapproved == ()
    dockerfile.write_text("FROM ktrdr-coding-agent:latest\nRUN curl evil\n")
    with pytest.raises(ConfigurationError, match="changed since you approved it"):
        place.load()
    (changed,) = place.load(leave_out_unapproved=True).unapproved
    assert changed.value == ["image/Dockerfile", "FROM ktrdr-coding-agent:latest", "RUN curl evil", ""]
    assert changed.before == ["image/Dockerfile", "FROM ktrdr-coding-agent:latest", "RUN true", ""]


@pytest.mark.parametrize("kind", ["absent", "folder", "pipe", "link to nothing"])
def test_a_dockerfile_that_is_not_a_regular_file_is_not_opened(place, write, kind):
    write("repository", "image.dockerfile = 'Dockerfile'\n")
    path = place.folder / "Dockerfile"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to nothing":
        path.symlink_to("nothing")
    approve(place)
    assert place.load().settings.image.dockerfile == Path("Dockerfile")


def test_a_dockerfile_of_the_users_own_choice_needs_no_approval(place, write):
    (place.folder / "Dockerfile").write_text("FROM x\n")
    assert place.load(overrides=["image.dockerfile=Dockerfile"]).needing_approval == ()


def test_a_dockerfile_too_large_to_approve_is_refused(place, write):
    write("repository", "image.dockerfile = 'Dockerfile'\n")
    (place.folder / "Dockerfile").write_text("FROM x\n" + "#" * 40_000)
    with pytest.raises(ConfigurationError, match="larger than"):
        place.load(leave_out_unapproved=True)
