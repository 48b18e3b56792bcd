"""Every command that a document shows is run."""

import os
import re
import subprocess  # noqa: TID251 - starts the demo as make does
from pathlib import Path

import pytest
from docs_kit import ROOT, Block, Reader, commands, documents, name_of, write_command

AGENT = """\
mkdir -p path/to
echo "task $ORCHESTRATOR_TASK" >> path/to/file
echo '{"status": "completed", "summary": "One more line."}' > "$ORCHESTRATOR_OUTCOME"
"""
TYPED = ("CONTRIBUTING.md", "README.md", "docs/repository.md")


def test_every_document_with_commands_is_typed_by_a_test() -> None:
    assert [name_of(path) for path in documents() if commands(path)] == sorted(TYPED)


def test_commands_for_contributors(reader: Reader) -> None:
    for block in commands(ROOT / "CONTRIBUTING.md"):
        reader.types(block)


@pytest.mark.docker
def test_a_first_run_as_the_readme_has_it(reader: Reader) -> None:
    typed = {block.text: reader.types(block) for block in commands(ROOT / "README.md")}
    (doctor,) = [output for text, output in typed.items() if text == "orchestrator doctor\n"]
    assert "✗" not in doctor
    first = next(output for text, output in typed.items() if text == "orchestrator run plan.md\n")
    assert re.search(r"^run \S+ completed", first, re.MULTILINE)
    subjects = reader.git("log", "--format=%s", "main..milestone/greeting").splitlines()
    assert [subject.split(":")[0] for subject in subjects] == ["1.2", "1.1", "chore", "1.2", "1.1"]


@pytest.fixture
def ran(reader: Reader) -> Reader:
    """A repository in which a plan was carried out by a program of its own."""
    (reader.folder / "agent.sh").write_text(AGENT)
    words = "orchestrator plan new Greeting --output plan.md && git add -A && git commit -qm plan"
    reader.types(Block(0, f"{words}\norchestrator run plan.md --agent-command 'bash agent.sh'\n"))
    return reader


@pytest.mark.docker
def test_getting_work_back_as_the_page_has_it(ran: Reader) -> None:
    base = ran.git("rev-parse", "main")
    landed = ran.git("rev-parse", "milestone/greeting")
    kept, *others = commands(ROOT / "docs" / "repository.md")
    assert landed in ran.types(kept)
    assert ran.git("for-each-ref", "--points-at", landed, "--format=%(refname)", "refs/kept") != ""
    for block in others:
        ran.types(block)
    assert ran.git("for-each-ref", "refs/kept") == ""
    assert ran.git("rev-parse", "milestone/greeting") == ran.git("rev-parse", f"{base}")


@pytest.mark.docker
def test_the_demo(area: Path) -> None:
    """The user's configuration and variables for other work neither break it nor steer it."""
    write_command(area / "bin")
    users = area / "configuration" / "ktrdr-orchestrator"
    users.mkdir(parents=True)
    (users / "config.toml").write_text("[agent]\nname = 'nop'\n[no-such-section]\nx = 1\n")
    of_the_user = {
        "XDG_CONFIG_HOME": str(area / "configuration"),
        "ORCHESTRATOR_AGENT_NAME": "nop",
        "ORCHESTRATOR_NO_SUCH": "1",
        "ORCHESTRATOR_RUN": "another",
        "ANTHROPIC_API_KEY": "two words",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "CLAUDE_CODE_OAUTH_TOKEN": "two words",
        "GIT_DIR": str(area / "another"),
        "XDG_CACHE_HOME": str(area / "cache"),
    }
    environment = {**os.environ, **of_the_user, "XDG_STATE_HOME": str(area / "state")}
    done = subprocess.run(
        [area / "bin" / "orchestrator", "demo"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=280,
    )
    output = done.stdout.decode()
    assert done.returncode == 0, f"{output}\n{done.stderr.decode()}"
    for task in ("1.1", "1.2", "1.3"):
        assert re.search(rf"^{task} .* completed +[0-9a-f]{{12}} +1 .* e\d", output, re.MULTILINE)
    assert "end to end: passed" in output
    (place,) = re.findall(r"^The result is in (.*)$", output, re.MULTILINE)
    assert Path(place).parent == area / "cache" / "ktrdr-orchestrator" and not (area / "another").exists()
    log = subprocess.run(
        ["git", "-C", place, "log", "--format=%s", "main.."], capture_output=True, check=True
    )
    assert len(log.stdout.splitlines()) == 3


TARGETS = ("help", "setup", "install", "demo", "test", "projects", "contract", "lint")


@pytest.mark.parametrize("target", TARGETS)
def test_what_make_would_do_names_scripts_that_can_be_run(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target],
        cwd=ROOT,
        capture_output=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    scripts = re.findall(r"\bscripts/[\w-]+\.sh", done.stdout.decode())
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)
    assert bool(scripts) == (target != "help")
