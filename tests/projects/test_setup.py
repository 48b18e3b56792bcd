"""Setup with commands of the project's own, from announcement to candidate."""

import os
import secrets
import signal

import pytest
from e2e_kit import AGENT, Done, MakeScene, Scene, docker, plan, task
from project_kit import AGENT_HEAD, owner, verdicts

pytestmark = pytest.mark.docker

# Stands for a package manager: what it installs is the content of the lock file.
SETUP = "mkdir deps && cp requirements.txt deps/installed && ls -A $HOME | wc -l > deps/home"
CONFIGURED = ("-c", f'setup.commands=["{SETUP}", "echo $GREETING > deps/greeting"]')
# Of this session alone: an image that an earlier one left would be reused.
FRESH = secrets.token_hex(8)
VARIABLES = (
    "-c",
    f'environment.variables={{GREETING="hello", PYTEST_ADDOPTS="-x", SUITE="{FRESH}"}}',
)
MASKED = ("-c", 'masked.files=[".env", "private", "tracked.txt", "absent", "link"]')
IGNORED = "deps/\n.env\nprivate/\n"


def start(scene: Scene, agent: str, *tasks: str, **files: str) -> None:
    given = {"plan__md": plan(*tasks), "agent__sh": AGENT_HEAD + agent, "requirements__txt": "one\n"}
    given["__gitignore"] = IGNORED
    scene.commit(**(given | files))


@pytest.fixture(scope="module")
def two_tasks(new_module_scene: MakeScene) -> tuple[Scene, Done]:
    """The first task changes the lock file, the second works with what that brought."""
    scene = new_module_scene(owner=owner())
    agent = """
    test "$GREETING" = hello
    cat deps/installed deps/greeting
    stat -c 'owner %u of %n' deps
    stat -f -c %T deps
    ls deps
    echo agent > deps/agent
    if [ "$ORCHESTRATOR_TASK" = 1 ]; then echo two >> requirements.txt; else echo done > made.txt; fi
    report completed
    """
    check = "cmp deps/installed requirements.txt && grep -qx 0 deps/home && test ! -e deps/agent"
    same = 'test "$GREETING" = hello && test "$(ls -A $HOME)" = ""'
    start(scene, agent, task("1", check, same), task("2", check), tracked__txt="as tracked\n")
    return scene, scene.run(*CONFIGURED, *VARIABLES, *AGENT)


def test_a_changed_lock_file_is_set_up_again_for_its_gates(two_tasks: tuple[Scene, Done]) -> None:
    _, done = two_tasks
    assert done.exit_code == 0, done
    # The second task starts from the image of the candidate that has landed.
    expected = [(None, None), ("1", 1)]
    assert [(each["task"], each["attempt"]) for each in done.of("setup_started")] == expected
    assert {verdict for _, _, verdict in verdicts(done)} == {"pass"}


def test_the_next_attempt_starts_from_what_the_new_lock_file_brought(two_tasks: tuple[Scene, Done]) -> None:
    scene, done = two_tasks
    second = (scene.attempt(done.run, "2", 1) / "transcript" / "stdout").read_text()
    files = ["greeting", "home", "installed"]
    assert second.splitlines() == ["one", "two", "hello", f"owner {scene.owner} of deps", "overlayfs", *files]


def test_nothing_of_it_is_left_in_the_users_folder(two_tasks: tuple[Scene, Done]) -> None:
    scene, _ = two_tasks
    assert not (scene.folder / "deps").exists()
    assert set(scene.owners().values()) == {scene.owner}
    assert scene.containers() == []


@pytest.mark.parametrize(
    ("command", "words"),
    [("echo first; echo no such package >&2; exit 9", ["exit code 9", "first", "no such package"])],
    ids=["fails"],
)
def test_a_setup_that_fails_costs_nothing(scene: Scene, command: str, words: list[str]) -> None:
    start(scene, "report completed", task("1", "true"))
    before = scene.picture()
    done = scene.run("-c", f'setup.commands=["{command}"]', *AGENT)
    assert done.exit_code == 2, done
    assert scene.picture() == before
    assert done.stdout == b"", "nothing is printed before the base has passed"
    error = done.err[done.err.index("error: ") :].splitlines()
    assert len(error) <= 10
    for word in words:
        assert word in "\n".join(error), done
    assert scene.containers() == []
    fixed = scene.run("-c", "setup.commands=['mkdir deps; touch deps/x']", "--agent", "nop")
    assert fixed.of("base_checked"), fixed


@pytest.mark.parametrize(
    "install",
    [
        "uv venv -q && uv pip install -q .",
        "uv build -q --wheel -o /tmp/dist && uv venv -q && uv pip install -q /tmp/dist/*.whl",
    ],
    ids=["folder", "wheel"],
)
def test_a_copy_of_the_project_itself_is_refused_with_the_way_out(scene: Scene, install: str) -> None:
    project = '[project]\nname = "shapes"\nversion = "1"\n[build-system]\nrequires = ["hatchling"]\n'
    project += 'build-backend = "hatchling.build"\n'
    start(scene, "report completed", task("1", "true"), pyproject__toml=project)
    scene.write("shapes/__init__.py", "")
    scene.git("add", "-A")
    scene.git("commit", "-qm", "package")
    before = scene.picture()
    done = scene.run("-c", f"setup.commands=['{install}']", *AGENT)
    assert done.exit_code == 2, done
    assert "setup installs a copy of the project" in done.err
    assert "pip install -e ." in done.err and "verify.build" in done.err
    assert scene.picture() == before


def test_long_setup_and_long_checks_show_that_they_live(scene: Scene) -> None:
    slow = "echo made > made.txt; report completed"
    start(scene, slow, task("1", "echo checking; sleep 6; test -s made.txt"))
    flag = f"echo {FRESH}; printf ' 1 of 2\\\\r 2 of 2'; sleep 6"
    done = scene.run("-c", f'setup.commands=["{flag}"]', *AGENT)
    assert done.exit_code == 0, done
    signs = {(each["task"], each["attempt"], each["what"], each["text"]) for each in done.of("still_running")}
    # On a slow machine there is one more, before anything was printed.
    assert signs - {(None, None, "setup", "")} == {
        (None, None, "setup", "2 of 2"),
        (None, None, "verify-1", "checking"),
        ("1", 1, "verify-1", "checking"),
    }


def test_a_setup_that_changes_tracked_files_is_reported_and_gates_have_them_as_tracked(scene: Scene) -> None:
    start(scene, "echo x > made.txt; report completed", task("1", "grep -qx one requirements.txt"))
    done = scene.orchestrator(
        "run", "plan.md", "-c", "setup.commands=['echo two > requirements.txt']", *AGENT
    )
    assert done.exit_code == 0, done
    assert "changed tracked files" in done.out and "requirements.txt" in done.out


def test_a_link_where_setup_has_a_folder_stays_and_is_reported(scene: Scene) -> None:
    start(scene, "test -L deps; echo x > made.txt; report completed", task("1", "test -s deps/installed"))
    elsewhere = scene.area / "elsewhere"
    elsewhere.mkdir()
    (scene.folder / "deps").symlink_to(elsewhere)
    scene.write(".gitignore", "/deps\n")
    scene.git("commit", "-qam", "ignore the link too")
    done = scene.run(*CONFIGURED, *VARIABLES, *AGENT)
    assert done.exit_code == 0, done
    assert [each["text"] for each in done.of("notice") if each["text"].startswith("deps/ is a link")]
    assert (scene.folder / "deps").is_symlink() and list(elsewhere.iterdir()) == []


def test_a_candidate_that_tracks_what_setup_made_does_not_land(scene: Scene) -> None:
    agent = "echo exit 0 > vendor-check; echo x > made.txt; report completed"
    start(scene, agent, task("1", "bash vendor-check"))
    setup = "echo exit 1 > vendor-check"
    done = scene.run("-c", f'setup.commands=["{setup}"]', "-c", "limits.attempts=1", *AGENT)
    assert done.exit_code == 1, done
    assert done.of("gate_started") == []
    (refused,) = done.of("candidate_refused")
    assert refused["reason"].startswith("vendor-check is tracked by git, and setup writes it")
    assert scene.git("rev-parse", "work") == done.events[0]["base"]


def test_a_refused_candidates_work_is_never_taken_for_the_users(scene: Scene) -> None:
    agent = """
    test "$ORCHESTRATOR_ATTEMPT" = 2 || { echo x > vendor-check; echo x > other.txt; }
    echo "$ORCHESTRATOR_ATTEMPT" > made.txt
    report completed
    """
    start(scene, agent, task("1", "test -s vendor-check"))
    done = scene.run("-c", 'setup.commands=["echo x > vendor-check"]', *AGENT)
    assert done.exit_code == 1, done
    assert done.of("edits_committed") == []
    assert scene.git("rev-parse", "work") == done.events[0]["base"]


def test_a_lock_file_that_cannot_be_installed_is_the_candidates_fault(scene: Scene) -> None:
    agent = """
    test "$ORCHESTRATOR_ATTEMPT" = 1 && lock=broken || lock=two
    echo $lock > requirements.txt
    report completed
    """
    start(scene, agent, task("1", "grep -qx two deps/installed"))
    setup = "if grep broken requirements.txt; then exit 3; fi; mkdir deps; cp requirements.txt deps/installed"
    done = scene.run("-c", f'setup.commands=["{setup}"]', *AGENT)
    assert done.exit_code == 0, done
    (refused,) = done.of("candidate_refused")
    assert "its dependencies cannot be installed" in refused["reason"]
    prompt = (scene.attempt(done.run, "1", 2) / "in" / "prompt.md").read_text()
    assert "its dependencies cannot be installed" in prompt


@pytest.fixture(scope="module")
def masked(new_module_scene: MakeScene) -> tuple[Scene, Done]:
    scene = new_module_scene(owner=owner())
    agent = """
    wc -c < .env; wc -c < tracked.txt; ls -A private | wc -l; cat link
    for path in .env tracked.txt private/x link; do
        if (echo x > $path) 2> /dev/null; then echo "wrote $path"; fi
    done
    git add -A && git commit -qm 'mine, with the mask' && echo committed
    echo done > made.txt
    report completed
    """
    start(scene, agent, task("1", "grep -qx original tracked.txt"), tracked__txt="original\n")
    scene.write(".env", "SECRET=canary\n")
    scene.write("private/key", "canary\n")
    (scene.folder / "link").symlink_to(".env")
    os.chown(scene.folder / "link", scene.owner, scene.owner, follow_symlinks=False)
    scene.git("add", "-A")
    scene.git("commit", "-qm", "link")
    return scene, scene.run(*MASKED, *AGENT)


def test_masked_files_are_empty_and_closed_for_the_agent(masked: tuple[Scene, Done]) -> None:
    scene, done = masked
    assert done.exit_code == 0, done
    said = (scene.attempt(done.run, "1", 1) / "transcript" / "stdout").read_text()
    assert said.splitlines() == ["0", "0", "0", "committed"]


def test_what_is_tracked_and_masked_lands_as_it_was(masked: tuple[Scene, Done]) -> None:
    scene, done = masked
    changed = scene.git("diff", "--name-only", done.events[0]["base"], "work").splitlines()
    assert sorted(changed) == ["HANDOFF_plan.md", "made.txt"]
    assert (scene.folder / "tracked.txt").read_text() == "original\n"
    assert (scene.folder / ".env").read_text() == "SECRET=canary\n"
    assert not (scene.folder / "absent").exists()


def test_a_dockerfile_is_built_on_top_and_its_user_does_not_matter(scene: Scene) -> None:
    start(scene, "marked && echo x > made.txt && report completed", task("1", "marked && id -u"))
    scene.write("image/mark.sh", "#!/bin/sh\necho marked\n")
    scene.write(
        "image/Dockerfile",
        "FROM ktrdr-coding-agent:latest\nUSER root\nCOPY mark.sh /usr/local/bin/marked\n"
        'RUN chmod 0755 /usr/local/bin/marked\nENTRYPOINT ["false"]\n',
    )
    scene.git("add", "-A")
    scene.git("commit", "-qm", "image")
    done = scene.run("-c", "image.dockerfile=image/Dockerfile", *AGENT)
    assert done.exit_code == 0, done
    digest = scene.evidence(done.run, done.of("gate_ended")[0]["evidence"])["image"]
    assert digest != docker("image", "inspect", "--format", "{{.Id}}", "ktrdr-coding-agent:latest").strip()


BAD_DOCKERFILES = {
    "does not build": ("FROM ktrdr-coding-agent:latest\nRUN echo the reason; exit 7\n", "the reason"),
    "not a Dockerfile": ("nonsense\n", "could not be built"),
    "builds on something else": ("FROM debian:bookworm-slim\n", "does not build on the agent image"),
}


@pytest.mark.parametrize(("text", "words"), BAD_DOCKERFILES.values(), ids=BAD_DOCKERFILES)
def test_a_dockerfile_that_cannot_be_used(scene: Scene, text: str, words: str) -> None:
    start(scene, "report completed", task("1", "true"), Dockerfile=text)
    before = scene.picture()
    done = scene.run("-c", "image.dockerfile=Dockerfile", *AGENT)
    assert done.exit_code == 2, done
    assert done.stdout == b"" and words in done.err
    assert len(done.err.splitlines()) <= 10
    assert scene.picture() == before


def test_a_package_that_does_not_exist(scene: Scene) -> None:
    start(scene, "report completed", task("1", "true"))
    done = scene.run("-c", 'image.packages=["no-such-package-at-all"]', *AGENT)
    assert done.exit_code == 2, done
    assert "no-such-package-at-all" in done.err and done.stdout == b""


def test_a_signal_during_setup_stops_it_and_the_run_can_be_resumed(scene: Scene) -> None:
    start(scene, "echo x > made.txt; report completed", task("1", "test -e deps/ready"))
    setup = ("-c", f'setup.commands=["sleep 60; : {FRESH}"]')
    with scene.start("run", "plan.md", "--json", *setup, *AGENT) as command:
        command.until_containers_of_base(scene.state)
        command.send(signal.SIGINT)
        done = command.finish()
    assert done.exit_code == 130, done
    assert scene.containers() == []
    assert scene.git("status", "--porcelain") == ""
    quick = f'setup.commands=["mkdir deps; touch deps/ready; : {FRESH}"]'
    resumed = scene.orchestrator("resume", "--json", "-c", quick)
    assert resumed.exit_code == 0, resumed
    assert [event["status"] for event in resumed.of("setup_ended")] == ["done"]


def test_clean_removes_old_setup_images_that_no_run_needs(scene: Scene) -> None:
    start(scene, "echo x > made.txt; report completed", task("1", "test -s made.txt"))
    setup = ("-c", f'setup.commands=["mkdir deps; touch deps/x; : {secrets.token_hex(8)}"]')

    def made_by(done: Done) -> str:
        return str(done.of("setup_ended")[0]["image"])

    def there(image: str) -> bool:
        return image in docker("images", "--quiet", "--no-trunc").split()

    failed = scene.run(*setup, "--agent", "nop")
    assert failed.exit_code == 1, failed
    assert "the image ktrdr-setup:" not in scene.orchestrator("clean", "--older-than", "0m").out
    assert there(made_by(failed))
    done = scene.run("--new", *setup, *AGENT)
    assert done.exit_code == 0, done
    assert scene.orchestrator("clean", "--older-than", "1d").exit_code == 0
    assert (
        "would remove the image ktrdr-setup:"
        in scene.orchestrator("clean", "--dry-run", "--older-than", "0m").out
    )
    assert there(made_by(done))
    assert "removed the image ktrdr-setup:" in scene.orchestrator("clean", "--older-than", "0m").out
    assert not there(made_by(done))
    assert scene.run("--new", *setup, *AGENT).exit_code == 0


def test_dependencies_next_to_the_lock_file_are_set_up_again(scene: Scene) -> None:
    agent = "echo two > requirements/base.txt; echo x > made.txt; report completed"
    start(scene, agent, task("1", "grep -qx two deps/installed"))
    scene.write("requirements.txt", "-r requirements/base.txt\n")
    scene.write("requirements/base.txt", "one\n")
    scene.git("add", "-A")
    scene.git("commit", "-qm", "requirements apart")
    setup = (
        f'setup.commands=["mkdir deps; cp requirements/base.txt deps/installed; : {secrets.token_hex(8)}"]'
    )
    done = scene.run("-c", setup, *AGENT)
    assert done.exit_code == 0, done
    assert len(done.of("setup_started")) == 2


def test_what_a_rejected_candidate_brought_into_setup_is_not_in_the_next_ones(scene: Scene) -> None:
    agent = """
    echo two > requirements.txt
    test "$ORCHESTRATOR_ATTEMPT" = 1 && echo x > planted || { rm planted; echo x > made.txt; }
    report completed
    """
    start(scene, agent, task("1", "test -e made.txt", "test ! -e deps/planted"))
    done = scene.run("-c", "setup.commands=['mkdir deps && cp * deps/ || true']", *VARIABLES, *AGENT)
    assert done.exit_code == 0, done
    assert [each["verdict"] for each in done.first_rounds] == ["fail", "fail", "pass", "pass"]
