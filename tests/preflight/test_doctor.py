"""The command in real folders; most of them without an engine."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from doctor_kit import Patient
from msgspec.structs import replace

from orchestrator.cli.host import this_host
from orchestrator.commands.doctor import DoctorRequest, doctor
from orchestrator.commands.request import StartOptions
from orchestrator.preflight.checks import CHECKS

KEY = "sk-ant-a-key-of-a-test"


def _subfolder(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    (patient.folder / "sub").mkdir()
    monkeypatch.chdir(patient.folder / "sub")


def _merge(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    (patient.folder / ".git" / "MERGE_HEAD").write_text("0" * 40)


def _submodule(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    patient.git("update-index", "--add", "--cacheinfo", "160000", "1" * 40, "sub")


def _link(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    (patient.folder / ".git").rename(patient.folder.parent / "elsewhere")
    (patient.folder / ".git").symlink_to(patient.folder.parent / "elsewhere")


def _state_inside(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(patient.folder / "state"))


def _state_open(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(os.environ["XDG_STATE_HOME"]) / "ktrdr-orchestrator"
    path.mkdir(parents=True)
    path.chmod(0o755)


def _state_relative(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "state")


def _required(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ENVIRONMENT_REQUIRED_FILES", '["a.txt", "b.txt"]')


def _own_check(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    check = '[{run = "echo no database; exit 3", hint = "make database"}]'
    monkeypatch.setenv("ORCHESTRATOR_ENVIRONMENT_CHECKS", check)


def _nothing_to_mount(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_MOUNTS", '[{source = "/no/such/folder", target = "/shared/data"}]')


def _unknown_agent(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_AGENT_NAME", "claude")


def _no_program(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_AGENT_NAME", "command")


def _bad_key(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "two words")


def _bad_script(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_GATEWAY_SCRIPTED", "no-such-file.json")


def _nothing(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    pass


Disorder = Callable[[Patient, pytest.MonkeyPatch], None]

FAILURES: list[tuple[str, Disorder, str, str, str]] = [
    ("not at the root", _subfolder, "repository", "not the root", "Its root is"),
    ("a merge in progress", _merge, "repository", "a merge is in progress", "git merge --abort"),
    ("a submodule", _submodule, "repository", "submodules", "git worktree add"),
    (".git is a link", _link, "repository", "link", "Replace the link"),
    ("state in the code folder", _state_inside, "repository", "state folder", "XDG_STATE_HOME"),
    ("state in the code folder, too", _state_inside, "state", "an agent can change it", "XDG_STATE_HOME"),
    ("state open to others", _state_open, "state", "mode 0755", "chmod 700"),
    ("state nowhere", _state_relative, "state", "not an absolute path", "XDG_STATE_HOME"),
    ("a required file is absent", _required, "required_files", "b.txt", "required_files|setting"),
    ("a check of their own", _own_check, "checks", "no database", "make database"),
    ("nothing to mount", _nothing_to_mount, "mounts", "/no/such/folder", "mkdir -p /no/such/folder"),
    ("no engine", _nothing, "engine", "no container engine answers", "systemctl start docker"),
    ("an unknown agent", _unknown_agent, "agent", "claude", "claude-code"),
    ("command without a program", _no_program, "agent", "program", "--agent-command"),
    ("no credential", _nothing, "credential", "no credential", "Set ANTHROPIC_API_KEY or CLAUDE"),
    ("a credential that is none", _bad_key, "credential", "ANTHROPIC_API_KEY", "without quotes"),
    ("no script", _bad_script, "credential", "no-such-file.json", ""),
]


@pytest.mark.parametrize(
    ("disorder", "name", "detail", "fix"),
    [case[1:] for case in FAILURES],
    ids=[case[0] for case in FAILURES],
)
def test_a_disorder_fails_its_check_with_the_fix(
    patient: Patient,
    monkeypatch: pytest.MonkeyPatch,
    disorder: Disorder,
    name: str,
    detail: str,
    fix: str,
) -> None:
    disorder(patient, monkeypatch)
    found = patient.diagnose("--json")
    check = found.check(name)
    assert found.exit_code == 1
    assert not found.json["ok"]
    assert check["status"] == "failed"
    assert detail in check["detail"]
    assert any(word in check["mend"] for word in fix.split("|"))


def test_every_failed_check_has_a_fix_and_every_check_is_reported_once(
    bare_folder: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for disorder in (_nothing, _unknown_agent, _state_relative):
        disorder(bare_folder, monkeypatch)
        checks = bare_folder.diagnose("--json").json["checks"]
        assert [check["name"] for check in checks] == list(CHECKS)
        assert [check for check in checks if check["status"] == "failed" and not check["mend"]] == []
        assert all(set(check) == {"name", "status", "detail", "mend"} for check in checks)


def test_without_repository_and_engine_it_completes(bare_folder: Patient) -> None:
    found = bare_folder.diagnose("--json")
    assert found.exit_code == 1
    assert found.check("repository")["status"] == "failed"
    assert found.check("image")["status"] == "skipped"
    assert found.check("state")["status"] == "ok"
    assert found.setting("limits.attempts")["value"] == 3


def test_where_a_repository_is_refused_no_check_says_that_there_is_none(patient: Patient) -> None:
    _submodule(patient, pytest.MonkeyPatch())
    checks = patient.diagnose("--json").json["checks"]
    assert not [check for check in checks if "no repository" in check["detail"]]
    (branch,) = [check for check in checks if check["name"] == "branch"]
    assert (branch["status"], branch["detail"]) == ("skipped", "the check repository failed")


def test_in_a_folder_that_is_gone_it_completes(bare_folder: Patient) -> None:
    bare_folder.folder.rmdir()
    found = bare_folder.diagnose("--json")
    assert found.exit_code == 1
    assert found.check("repository")["detail"] == "the current folder no longer exists"


def test_configured_checks_run_in_the_code_folder(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ENVIRONMENT_CHECKS", '[{run = "test -e .git"}, {run = "true"}]')
    check = patient.diagnose("--json").check("checks")
    assert (check["status"], check["detail"]) == ("ok", "`test -e .git`, `true`")


@pytest.mark.parametrize(
    ("run", "status"),
    [("sleep 60 & exit 0", "ok"), ("setsid sleep 60 & sleep 50", "failed")],
    ids=["in the background", "out of reach"],
)
def test_a_check_ends_with_its_command_or_at_its_time_out_even_if_it_leaves_a_process_running(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, run: str, status: str
) -> None:
    check = f'[{{run = "{run}", timeout = 3}}]'
    monkeypatch.setenv("ORCHESTRATOR_ENVIRONMENT_CHECKS", check)
    found = patient.diagnose("--json").check("checks")
    assert found["status"] == status
    assert ("took longer than 3 s" in found["detail"]) == (status == "failed")


def test_commands_without_approval_do_not_run(patient: Patient) -> None:
    checks = "[[environment.checks]]\nrun = 'touch ran'\n"
    (patient.folder / "orchestrator.toml").write_text(checks)
    found = patient.diagnose("--json")
    assert found.check("trust")["status"] == "failed"
    skipped = [found.check(name) for name in ("checks", "mounts")]
    assert [(each["status"], each["detail"]) for each in skipped] == [
        ("skipped", "the check trust failed")
    ] * 2
    assert not (patient.folder / "ran").exists()


def test_doctor_creates_nothing(patient: Patient) -> None:
    before = sorted(patient.folder.rglob("*"))
    patient.diagnose()
    assert sorted(patient.folder.rglob("*")) == before
    assert not Path(os.environ["XDG_STATE_HOME"]).exists()


@pytest.mark.parametrize(
    ("agent", "status"), [("claude-code", "failed"), ("nop", "warning"), ("command", "warning")]
)
def test_a_credential_is_needed_only_where_the_agent_needs_one(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, agent: str, status: str
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_AGENT_NAME", agent)
    monkeypatch.setenv("ORCHESTRATOR_AGENT_COMMAND", '["bash", "agent.sh"]')
    assert patient.diagnose("--json").check("credential")["status"] == status


def test_a_credential_is_found_and_not_shown(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    found = patient.diagnose("--json")
    assert found.check("credential")["status"] == "ok"
    assert KEY not in found.out + found.err + patient.diagnose().out


def test_a_scripted_model_needs_no_credential(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    (patient.folder / "model.json").write_text('{"schema": 1, "tasks": {"*": {"steps": [{"text": "Hi."}]}}}')
    monkeypatch.setenv("ORCHESTRATOR_GATEWAY_SCRIPTED", "model.json")
    check = patient.diagnose("--json").check("credential")
    assert check["status"] == "ok"
    assert "model.json" in check["detail"]


def test_git_settings_give_warnings(patient: Patient) -> None:
    patient.git("config", "commit.gpgSign", "true")
    patient.git("config", "core.hooksPath", "hooks")
    found = patient.diagnose("--json")
    assert found.check("signing")["status"] == "warning"
    assert found.check("git_settings")["status"] == "warning"
    assert "core.hookspath" in found.check("git_settings")["detail"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_owner_is_that_of_the_folder_not_the_caller(patient: Patient) -> None:
    assert patient.diagnose("--json").check("owner")["status"] == "warning"
    for path in (patient.folder, *patient.folder.rglob("*")):
        os.chown(path, 1000, 1000)
    for above in patient.folder.parents:
        if not above.stat().st_mode & 0o001:  # the suite's own folders are closed to others
            above.chmod(0o755)
    check = patient.diagnose("--json").check("owner")
    assert check["status"] == "ok"
    assert "1000" in check["detail"]


def test_values_are_shown_with_their_sources(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    (patient.folder / "orchestrator.toml").write_text("[limits]\nattempts = 2\n")
    monkeypatch.setenv("ORCHESTRATOR_AGENT_MODEL", "opus")
    found = patient.diagnose("--json")
    assert found.setting("limits.attempts") == {
        "key": "limits.attempts",
        "value": 2,
        "source": "orchestrator.toml:2",
    }
    assert found.setting("agent.model")["source"] == "ORCHESTRATOR_AGENT_MODEL"
    assert found.setting("agent.name")["source"] == "default"


def test_the_table_lists_changed_settings_and_on_request_the_defaults(patient: Patient) -> None:
    (patient.folder / "orchestrator.toml").write_text("[verify]\ntimeout = 60\n")
    short, whole = (patient.diagnose(*words).out.split("\n\n")[1].splitlines() for words in ((), ("--all",)))
    assert short[0].split() == ["setting", "value", "from"]
    assert [line.split() for line in short[2:]] == [["verify.timeout", "60", "orchestrator.toml:2"]]
    assert whole[2].split() == short[2].split()
    assert whole[3].split()[-1] == "default"
    assert len(whole) > 20


def test_without_changed_settings_there_is_no_table(patient: Patient) -> None:
    assert "limits.attempts" not in patient.diagnose().out
    assert "limits.attempts" in patient.diagnose("--all").out


def test_the_last_line_sums_up(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    found = patient.diagnose()
    last = found.out.splitlines()[-1]
    assert last.startswith("A run cannot start here: engine, credential")
    patient.git("config", "commit.gpgSign", "true")
    assert (
        patient.diagnose("--check", "signing").out.splitlines()[-1] == "The check passed; warnings: signing"
    )


def test_options_of_run_are_taken(patient: Patient) -> None:
    (patient.folder / "b.txt").write_text("b\n")
    found = patient.diagnose(
        "--json", "--agent-command", "./no-such-agent --fast", "--model", "m", "-c", "limits.attempts=2",
        "--allow-dirty",
    )  # fmt: skip
    assert found.setting("agent.command")["value"] == ["./no-such-agent", "--fast"]
    assert found.setting("limits.attempts")["source"] == "-c"
    assert found.setting("agent.model")["source"] == "--model"
    assert found.check("agent")["status"] == "failed"
    assert "./no-such-agent does not exist" in found.check("agent")["detail"]
    assert found.check("credential")["status"] == "skipped"
    assert found.check("changes")["status"] == "ok"
    refused = patient.diagnose("--agent", "nop", "--agent-command", "x")
    assert (refused.exit_code, refused.out) == (2, "")


def test_nothing_is_suggested_where_nothing_is_wrong(patient: Patient) -> None:
    check = patient.diagnose("--json", "--agent", "nop").check("credential")
    assert (check["status"], check["mend"]) == ("warning", None)


SETUPS: list[tuple[str, dict[str, str], str, str, str | None]] = [
    ("nothing", {}, "ok", "nothing to install was found", None),
    ("a lock file", {"uv.lock": ""}, "ok", "uv.lock (uv)", None),
    (
        "no lock file",
        {"pyproject.toml": '[project]\nname = "x"\n'},
        "warning",
        "no lock file found: nothing will be installed",
        "uv pip install --python .venv -e .",
    ),
    (
        "one of two",
        {"pyproject.toml": '[project]\nname = "x"\n', "go.mod": "", "go.sum": ""},
        "warning",
        "only go.sum will be installed",
        "uv pip install --python .venv -e .",
    ),
    (
        "below the root",
        {"web/package.json": "{}", "web/package-lock.json": "{}"},
        "warning",
        "lock files in web are not used",
        'setup.folders = ["web"]',
    ),
    (
        "below the root, configured",
        {
            "web/package.json": "{}",
            "web/package-lock.json": "{}",
            "orchestrator.toml": "[setup]\nfolders = ['web']\n",
        },
        "ok",
        "web/package-lock.json (npm)",
        None,
    ),
    (
        "configured",
        {"uv.lock": "", "orchestrator.toml": "[setup]\ncommands = ['make deps']\n"},
        "ok",
        "setup.commands: `make deps`",
        None,
    ),
    (
        "turned off",
        {"uv.lock": "", "orchestrator.toml": "[setup]\ndiscover = false\n"},
        "ok",
        "nothing is",
        None,
    ),
]


@pytest.mark.parametrize(
    ("files", "status", "detail", "fix"), [case[1:] for case in SETUPS], ids=[case[0] for case in SETUPS]
)
def test_setup_says_what_a_run_would_install(
    patient: Patient, files: dict[str, str], status: str, detail: str, fix: str | None
) -> None:
    for path, content in files.items():
        (patient.folder / path).parent.mkdir(exist_ok=True)
        (patient.folder / path).write_text(content)
    patient.git("add", "-A")
    check = patient.diagnose("--json", "--check", "setup").check("setup")
    assert check["status"] == status
    assert detail in check["detail"]
    assert (fix or "") in (check["mend"] or "")
    assert (fix is None) == (check["mend"] is None)


def test_a_failed_check_has_its_fix_on_the_next_line(patient: Patient) -> None:
    lines = patient.diagnose().out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("✗ credential")]
    assert lines[at + 1].lstrip().startswith("→ Set ANTHROPIC_API_KEY")


@pytest.mark.parametrize("name", list(CHECKS))
def test_one_check_alone(patient: Patient, name: str) -> None:
    found = patient.diagnose("--json", "--check", name)
    assert [check["name"] for check in found.json["checks"]] == [name]
    assert found.exit_code == (1 if found.json["checks"][0]["status"] == "failed" else 0)
    assert "limits.attempts" not in patient.diagnose("--check", name).out


@pytest.mark.parametrize(
    ("words", "toml", "message"),
    [
        (("--check", "imago"), "", "unknown check imago"),
        ((), "[limit]\nattempts = 2\n", "Did you mean `limits.attempts`"),
        ((), "[limits]\nattempts = 'two'\n", "orchestrator.toml:2"),
    ],
    ids=["unknown check", "unknown section", "wrong type"],
)
def test_an_unknown_check_or_an_unreadable_file_is_exit_2_with_nothing_on_stdout(
    patient: Patient,
    words: tuple[str, ...],
    toml: str,
    message: str,
) -> None:
    (patient.folder / "orchestrator.toml").write_text(toml)
    found = patient.diagnose("--json", *words)
    assert found.exit_code == 2
    assert found.out == ""
    assert message in found.err


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_with_engine_image_and_credential_every_check_passes(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    found = patient.diagnose("--json", "-c", 'image.packages=["ktrdr-never-built"]')
    assert found.exit_code == 0, found.out
    assert found.json["ok"]
    image = found.check("image")
    assert (image["status"], image["mend"]) == ("ok", None)
    assert image["detail"].endswith(
        "with packages ktrdr-never-built: the first run builds it, which can take minutes"
    )
    assert found.check("agent")["detail"] == "claude-code: claude (a run looks it up in the image)"


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_the_program_of_the_agent_is_looked_up_in_the_image(patient: Patient) -> None:
    there = patient.diagnose("--json", "--check", "agent").check("agent")
    assert (there["status"], there["detail"]) == ("ok", "claude-code: claude (in the image)")
    lacks = patient.diagnose("--json", "--agent-command", "dot -x", "--check", "agent").check("agent")
    assert lacks["status"] == "failed"
    assert "the agent's program dot does not exist" in lacks["detail"]
    assert 'Add "graphviz" to image.packages' in lacks["mend"]


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_a_missing_image(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_IMAGE_NAME", "ktrdr-no-such-image:1")
    check = patient.diagnose("--json").check("image")
    assert check["status"] == "failed"
    assert check["mend"] == "orchestrator image build"


async def test_a_state_folder_that_cannot_be_created(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_STATE_HOME": "/dev/null"}
    host = replace(this_host(), environ=environ, folder=tmp_path)
    state = (await doctor(host, DoctorRequest(only="state", options=StartOptions()))).checks["state"]
    assert state.status == "failed" and state.fix is not None
