"""The command for a user who is not root, although root runs the tests.

The checkout, its environment and even the interpreter may be where only root can read (below /root); what is
needed of them is then copied. Nothing of the user's changes its mode.
"""

import compileall
import importlib.metadata
import os
import re
import shutil
import subprocess  # noqa: TID251 - tries an interpreter as another user
import sys
import tomllib
from pathlib import Path

from e2e_kit import ORDINARY, PACKAGE, ROOT, Caller, myself


def ordinary_caller(area: Path) -> Caller:
    """User 1000 with the engine's group where root runs the tests, else the user who runs them."""
    if os.geteuid() != 0:
        return myself()
    packages = area / "packages"
    packages.mkdir()
    shutil.copytree(PACKAGE, packages / "orchestrator")
    for distribution in _needed():
        _copy(distribution, packages)
    compileall.compile_dir(packages, quiet=2)  # the user could not store what it compiles
    python = Path(sys.executable).resolve()
    if not _runs(python):
        python = _copied_python(area)
        assert _runs(python), "the copied interpreter does not run as an ordinary user"
    return Caller(
        program=(str(python), "-m", "orchestrator.cli.main"),
        pythonpath=str(packages),
        uid=ORDINARY,
        gid=ORDINARY,
        groups=(_engine_group(),),
    )


def _engine_group() -> int:
    socket = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
    return socket.stat().st_gid


def _needed() -> list[importlib.metadata.Distribution]:
    """The distributions that the package needs at run time, and those that they need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [_name(requirement) for requirement in project["dependencies"]]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for other systems or versions of Python
        requires = found[name].requires or []
        waiting += [_name(requirement) for requirement in requires if "extra ==" not in requirement]
    return list(found.values())


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return match[0].lower()


def _copy(distribution: importlib.metadata.Distribution, packages: Path) -> None:
    for file in distribution.files or ():
        if ".." in file.parts:
            continue  # programs of the environment
        target = packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        source = Path(str(distribution.locate_file(file)))
        if source.exists():
            shutil.copy2(source, target)
            target.chmod(0o644)


def _runs(python: Path) -> bool:
    """Whether the ordinary user can run this interpreter."""
    try:
        subprocess.run(
            [python, "-c", "import ssl, sqlite3"],
            user=ORDINARY,
            group=ORDINARY,
            extra_groups=[],
            cwd="/",
            env={"PATH": os.environ["PATH"]},
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _copied_python(area: Path) -> Path:
    """A copy of the interpreter with its standard library, without what was installed beside it."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base, copy = Path(sys.base_prefix), area / "python"
    ignored = shutil.ignore_patterns("site-packages", "test", "config-*", "idlelib", "tkinter")
    shutil.copytree(base / "lib" / version, copy / "lib" / version, ignore=ignored)
    for library in (base / "lib").glob("libpython*.so*"):
        shutil.copy2(library, copy / "lib" / library.name)
    (copy / "bin").mkdir()
    shutil.copy2(Path(sys.executable).resolve(), copy / "bin" / "interpreter")
    # The program may name its library by the path that only root can read; and who starts another one like
    # itself shall start this script.
    program = copy / "bin" / version
    program.write_text(
        f'#!/bin/bash\nLD_LIBRARY_PATH={copy / "lib"} exec -a "$0" {program.parent}/interpreter "$@"\n'
    )
    program.chmod(0o755)
    return program
