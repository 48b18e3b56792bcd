"""The wheel: its files, that it brings what the program needs at run time, and that it is reproducible."""

import subprocess  # noqa: TID251 - imports from the installed package in a process of its own
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

RECIPE = "orchestrator/_deploy/deploy/docker/coding-agent"
BESIDES_CODE = {
    f"{RECIPE}/.dockerignore",
    f"{RECIPE}/Dockerfile",
    f"{RECIPE}/certificates/README.md",
    f"{RECIPE}/fetch.lock",
    "orchestrator/_deploy/examples/greeting/.gitignore",
    "orchestrator/_deploy/examples/greeting/model.json",
    "orchestrator/_deploy/examples/greeting/plan.md",
    "orchestrator/_deploy/scripts/base-image.sh",
    "orchestrator/_deploy/scripts/build-image.sh",
    "orchestrator/_deploy/scripts/install-packages.sh",
    "orchestrator/_deploy/scripts/lib.sh",
    "orchestrator/cli/report.html.jinja",
    "orchestrator/cli/writing_plans.md",
    "orchestrator/config/reference.md",
    "orchestrator/journal/sql/migrations/0001_facts.sql",
    "orchestrator/journal/sql/migrations/0002_names_reserved.sql",
    "orchestrator/journal/sql/migrations/0003_adoption.sql",
    "orchestrator/journal/sql/queries.sql",
    "orchestrator/py.typed",
    "orchestrator/run/prompt_texts/again.md",
    "orchestrator/run/prompt_texts/outcome_by_file.md",
    "orchestrator/run/prompt_texts/outcome_in_stream.md",
    "orchestrator/run/prompt_texts/task.md",
}
"""The files besides modules and metadata. Certificates of this machine, for example, are not among them."""


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def run_installed(installed: Path, code: str) -> str:
    """The output of code that imports the installed package; the libraries are those of the test."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=installed.parent,
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_the_files_of_a_wheel(root: Path, installed: Path) -> None:
    files = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    package = {name for name in files if name.startswith("orchestrator/")}
    modules = {str(path.relative_to(root / "src")) for path in (root / "src").rglob("*.py")}
    assert {name for name in package if name.endswith(".py")} == modules
    assert {name for name in package if not name.endswith(".py")} == BESIDES_CODE
    others = {name.partition("/")[2] for name in files - package}
    metadata = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert others == {*metadata, "data/share/man/man1/orchestrator.1"}


def test_one_program_is_installed(installed: Path) -> None:
    (points,) = installed.glob("*.dist-info/entry_points.txt")
    assert points.read_text() == "[console_scripts]\norchestrator = orchestrator.cli.main:console\n"


def test_two_builds_are_identical(wheel: Path, rebuilt_wheel: Path) -> None:
    assert sha256(rebuilt_wheel.read_bytes()).digest() == sha256(wheel.read_bytes()).digest()


def test_an_installed_package_brings_the_recipe_and_the_example(root: Path, installed: Path) -> None:
    asked = "from orchestrator.containers.images import build_script; print(build_script())"
    script = Path(run_installed(installed, asked))
    assert script.is_relative_to(installed)
    recipe = script.parent.parent / "deploy" / "docker" / "coding-agent"
    source = root / "deploy" / "docker" / "coding-agent"
    for name in ("Dockerfile", "fetch.lock", ".dockerignore", "certificates/README.md"):
        assert (recipe / name).read_bytes() == (source / name).read_bytes()
    example = run_installed(installed, "from orchestrator.commands.demo import *; print(find_example())")
    assert Path(example).is_relative_to(installed) and Path(example, "plan.md").is_file()


def test_an_installed_package_knows_no_commit(installed: Path) -> None:
    version = run_installed(installed, "from orchestrator.cli.main import *; print(describe_version())")
    assert "(" not in version
