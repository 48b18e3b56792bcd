"""Folders made by setup are in every attempt, and an attempt's writes to them reach no other container."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from orchestrator.containers.base import ContainerSpec
from orchestrator.engine.setup_overlays import PROBE_COMMAND
from orchestrator.errors import CodingAgentError
from orchestrator.mounts import AnonymousVolume, Overlay
from orchestrator.run.facts import CandidateMade, Notice, SetupStarted, StillRunning
from orchestrator.testing.agent import ScriptedAgent, Step, exits, reports, writes
from orchestrator.testing.engine import FakeEngine
from orchestrator.testing.processes import Process, Program
from orchestrator.testing.project import TemporaryProject

SETTINGS = """
[setup]
commands = ["install"]
[limits]
attempts = 2
"""
DEPS = "/workspace/deps"


def install(process: Process) -> None:
    process.path("deps/bin").mkdir(parents=True)
    process.path("deps/bin/tool").write_text("as installed")


def sees(found: list[str]) -> Step:
    """Note what is in the folder that setup made, then change all of it."""

    def step(process: Process) -> None:
        folder = process.path(DEPS)
        found.append(" ".join(f"{path.relative_to(folder)}={path.read_text()}" for path in _files(folder)))
        for path in _files(folder):
            path.unlink()
        (folder / "planted").write_text("by an attempt")

    return step


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class Watch:
    """Specifications of all containers that an engine creates."""

    def __init__(self, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.specs: list[ContainerSpec] = []
        create = engine.create

        async def note(spec: ContainerSpec) -> str:
            self.specs.append(spec)
            return await create(spec)

        monkeypatch.setattr(engine, "create", note)

    def mounts(self, kind: type) -> list[str]:
        attempts = (spec for spec in self.specs if spec.name.startswith("ktrdr-coding-agent-"))
        return [each.target for spec in attempts for each in spec.mounts if isinstance(each, kind)]


def new_project(
    folder: Path,
    agent: ScriptedAgent,
    *,
    shows_layers: bool = True,
    ignore: str = "deps/\n",
    tasks: tuple[str, ...] = ("1",),
    gates: Mapping[str, Program] = MappingProxyType({}),
) -> TemporaryProject:
    programs: dict[str, Program] = {
        "install": install,
        "check 1": lambda process: 0 if _is_as_installed(process) else 1,
        **gates,
    }
    project = TemporaryProject(
        folder, tasks=tasks, agent=agent, gates=programs, settings=SETTINGS, shows_layers=shows_layers
    )
    (project.folder / ".gitignore").write_text(ignore)
    project.git("add", "-A")
    project.git("commit", "-qm", "ignore")
    return project


def _is_as_installed(process: Process) -> bool:
    return [path.name for path in _files(process.path("deps"))] == ["tool"]


@pytest.fixture
def found() -> list[str]:
    return []


@pytest.fixture
def agent(found: list[str]) -> ScriptedAgent:
    first = (sees(found), exits(3))
    second = (sees(found), writes("made.txt", "x"), reports())
    return ScriptedAgent({("1", 1): first, ("1", 2): second})


@pytest.fixture
def project(tmp_path: Path, agent: ScriptedAgent) -> Iterator[TemporaryProject]:
    with new_project(tmp_path, agent) as project:
        yield project


def test_a_folder_that_git_does_not_ignore_is_visible_and_never_committed(
    tmp_path: Path, found: list[str]
) -> None:
    """Not even when the agent, or the user meanwhile, leaves files of their own at that place."""
    excluded: list[str] = []

    def leaves(process: Process) -> None:
        excluded.extend(process.path("/workspace/.git/info/exclude").read_text().splitlines())
        (tmp_path / "code" / "deps" / "by-the-user").write_text("installed by hand meanwhile")

    agent = ScriptedAgent({("1", 1): (sees(found), leaves, writes("made.txt", "x"), reports())})
    with new_project(tmp_path, agent, ignore="") as project:
        report = project.run()
        assert report.status == "completed"
        assert found == ["bin/tool=as installed"]
        assert "/deps/" in excluded
        changed = project.git("diff", "--name-only", "main", "work").splitlines()
        assert sorted(changed) == ["HANDOFF_plan.md", "made.txt"]
        (made,) = [fact.body for fact in project.facts(report.run) if isinstance(fact.body, CandidateMade)]
        assert made.left_out == ("deps/",)
        assert (project.folder / "deps" / "by-the-user").exists()


def test_a_folder_that_setup_made_does_not_show_in_the_users_status(
    project: TemporaryProject, agent: ScriptedAgent
) -> None:
    (project.folder / ".gitignore").write_text("")
    project.git("commit", "-qam", "ignore nothing")
    assert project.run().status == "completed"
    assert project.git("status", "--porcelain") == ""
    assert not (project.folder / "deps").exists()


def left_in_engine(project: TemporaryProject) -> list[str]:
    """Containers and anonymous volumes that exist."""
    folder = project.engine.folder / "anonymous"
    volumes = [path.name for path in folder.iterdir()] if folder.exists() else []
    return [*(state.name for state in project.do(project.engine.list({}))), *volumes]


def test_nothing_that_an_attempt_writes_is_seen_by_another_a_gate_or_the_user(
    project: TemporaryProject, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(project.engine, monkeypatch)
    assert project.run().status == "completed"
    assert found == ["bin/tool=as installed"] * 2
    assert watch.mounts(Overlay) == [DEPS, DEPS]
    assert watch.mounts(AnonymousVolume) == []
    names = [spec.name for spec in watch.specs if spec.name.startswith("ktrdr-overlay-")]
    assert [name.endswith("-probe") for name in names] == [False, True, False]
    assert not (project.folder / "deps").exists()
    assert project.git("status", "--porcelain") == ""
    assert left_in_engine(project) == []


def cannot_write(process: Process) -> int:
    return 1


@pytest.mark.parametrize(
    ("shows_layers", "reason"),
    [
        (False, "does not report where it stores the files of an image"),
        (True, "a container cannot read or write an overlay here"),
    ],
    ids=["no layers", "the probe fails"],
)
def test_where_the_engine_cannot_overlay_the_copy_stays_and_is_announced_once(
    tmp_path: Path,
    agent: ScriptedAgent,
    found: list[str],
    monkeypatch: pytest.MonkeyPatch,
    shows_layers: bool,
    reason: str,
) -> None:
    probe: dict[str, Program] = {PROBE_COMMAND[2]: cannot_write}
    with new_project(tmp_path, agent, shows_layers=shows_layers, gates=probe) as project:
        watch = Watch(project.engine, monkeypatch)
        report = project.run()
        assert report.status == "completed"
        assert found == ["bin/tool=as installed"] * 2
        assert (watch.mounts(Overlay), watch.mounts(AnonymousVolume)) == ([], [DEPS, DEPS])
        notices = [fact.body.text for fact in project.facts(report.run) if isinstance(fact.body, Notice)]
        (notice,) = [text for text in notices if "copy" in text]
        assert notice.startswith("each attempt gets a copy of deps, because ") and reason in notice
        assert left_in_engine(project) == []


def test_a_long_copy_shows_that_it_lasts(
    tmp_path: Path, agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_project(tmp_path, agent, shows_layers=False) as project:
        create = project.engine.create

        async def slow(spec: ContainerSpec) -> str:
            if any(isinstance(mount, AnonymousVolume) for mount in spec.mounts):
                await project.clock.sleep(40)
            return await create(spec)

        monkeypatch.setattr(project.engine, "create", slow)
        report = project.run()
        signs = [fact.body for fact in project.facts(report.run) if isinstance(fact.body, StillRunning)]
        assert [sign.what for sign in signs][:3] == ["copying deps"] * 3


def test_a_link_in_the_image_is_never_mounted_by_the_engine(
    tmp_path: Path, agent: ScriptedAgent, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine would mount, as root of the host, the folder that the link leads to."""
    with new_project(tmp_path, agent) as project:
        engine, is_folder = project.engine, project.engine.is_folder

        async def finds_link(container: str, path: str) -> bool:
            return path != DEPS and await is_folder(container, path)

        monkeypatch.setattr(engine, "is_folder", finds_link)
        watch = Watch(engine, monkeypatch)
        assert project.run().status == "completed"
        assert (watch.mounts(Overlay), watch.mounts(AnonymousVolume)) == ([], [DEPS, DEPS])
        assert left_in_engine(project) == []


@pytest.mark.parametrize("fails", ["put_archive", "create"])
def test_a_start_that_fails_leaves_nothing(
    project: TemporaryProject, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    engine = project.engine
    with monkeypatch.context() as patched:
        create, put = engine.create, engine.put_archive

        async def refuse_attempt(spec: ContainerSpec) -> str:
            if spec.name.startswith("ktrdr-coding-agent-"):
                raise CodingAgentError("no")
            return await create(spec)

        async def refuse_folders(container: str, path: str, tar: Path) -> None:
            if path != "/":
                raise CodingAgentError("no")
            await put(container, path, tar)

        patched.setattr(engine, fails, refuse_attempt if fails == "create" else refuse_folders)
        assert project.run().status == "parked"
        assert left_in_engine(project) == []
    assert project.resume().status == "completed"


def test_a_killed_start_is_cleaned_up_by_the_next(
    project: TemporaryProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `kill -9` between the creation of the holder and that of the attempt's container."""
    engine, removed = project.engine, project.engine.remove
    with monkeypatch.context() as patched:

        async def keep(container: str) -> None:
            found = engine._find(container)
            if found is None or not found.spec.name.startswith("ktrdr-overlay-"):
                await removed(container)

        patched.setattr(engine, "remove", keep)
        watch = Watch(engine, patched)
        create = engine.create

        async def refuse(spec: ContainerSpec) -> str:
            if spec.name.startswith("ktrdr-coding-agent-"):
                raise CodingAgentError("no")
            return await create(spec)

        patched.setattr(engine, "create", refuse)
        project.run()
        assert [name.rpartition("-")[0] for name in left_in_engine(project) if "overlay" in name]
        assert watch.specs
    assert project.resume().status == "completed"
    assert left_in_engine(project) == []


def test_the_setup_of_a_landed_candidate_is_reused_and_that_of_a_rejected_one_is_not(tmp_path: Path) -> None:
    """A rejected candidate could plant a file in its setup; that file must not judge later ones."""
    seen: list[str] = []

    def plant(process: Process) -> None:
        install(process)
        if process.path("planted").exists():
            process.path("deps/planted").write_text("x")

    def check(process: Process) -> int:
        seen.append(" ".join(path.name for path in _files(process.path("deps"))))
        return 0 if process.path("good").exists() else 1

    agent = ScriptedAgent(
        {
            ("1", 1): (writes("requirements.txt", "two"), writes("planted", "x"), reports()),
            ("1", 2): (lambda process: process.path("planted").unlink(), writes("good", "x"), reports()),
            ("2", 1): (writes("more", "x"), reports()),
        }
    )
    gates: dict[str, Program] = {"install": plant, "check 1": check, "check 2": check}
    with new_project(tmp_path, agent, tasks=("1", "2"), gates=gates) as project:
        report = project.run()
        assert report.status == "completed"
        started = [fact for fact in project.facts(report.run) if isinstance(fact.body, SetupStarted)]
        assert [(fact.task, fact.attempt) for fact in started] == [(None, None), ("1", 1), ("1", 2)]
    # The base twice, then the rejected, the landed and the next candidate; those that pass are cross-checked.
    assert seen == ["tool", "tool", "tool planted", *["tool", "tool"], *["tool", "tool"]]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("no such package: shapes", "Fix setup.commands or the lock files. The whole output: "),
        ("bash: line 1: poetry: command not found", "setup.commands"),
        ("sh: 1: libpq-config: not found", "Add it to the image with image.packages"),
    ],
)
def test_a_failed_setup_names_the_setting_that_fixes_it(tmp_path: Path, output: str, words: str) -> None:
    def fail(process: Process) -> int:
        process.print(output)
        return 127

    agent = ScriptedAgent({})
    with new_project(tmp_path, agent, gates={"install": fail}) as project:
        report = project.run()
        assert (report.status, report.exit_code) == ("failed", 2)
        assert report.reason is not None and words in report.reason and output in report.reason
        assert agent.attempts == []


def test_single_files_that_setup_makes_are_named(tmp_path: Path) -> None:
    def install_files(process: Process) -> None:
        install(process)
        for name in (".pnp.cjs", "a.txt", "b.txt", "c.txt"):
            process.path(f"/workspace/{name}").write_text("made")

    with new_project(tmp_path, ScriptedAgent({}), gates={"install": install_files}) as project:
        report = project.run()
        notices = [fact.body.text for fact in project.facts(report.run) if isinstance(fact.body, Notice)]
    shown = ".pnp.cjs, a.txt, b.txt and 1 more: made by setup outside of folders of its own"
    assert f"{shown}, so only gates have it" in notices
