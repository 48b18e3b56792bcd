"""How a Python project installs itself and runs its tests, by its manifests. Pure.

Everything is installed into `.venv`, the project itself editable: a copy of it would be that of the base, and
every check would test the base. An interesting case is where pytest comes from, because a plain install
leaves out the extra or the group that declares it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.gates.discovery import SETUP_FOLDER
from orchestrator.gates.manifests import READ, Manifests, Part, inner_table

SIGNS = frozenset(
    {"pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "uv.lock", "poetry.lock", "Pipfile"}
)
_PYTEST = ".venv/bin/python -m pytest -q"
_UV_PIP = "uv pip install --python .venv"
_REQUIREMENTS = ("requirements.txt", "requirements-dev.txt", "dev-requirements.txt")
_NAMED_PYTEST = re.compile(r"^[ \t]*pytest\b", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pytest:
    """Where a project declares pytest, or a plugin of it."""

    is_plain: bool = False
    """Whether an ordinary install brings it."""
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Dependency groups, optional or not."""
    files: tuple[str, ...] = ()
    """Requirements files."""
    is_undeclared: bool = False
    """Whether there are tests for it, but it is declared nowhere."""

    @property
    def is_used(self) -> bool:
        return self.is_plain or bool(self.extras or self.groups or self.files) or self.is_undeclared

    @property
    def alone(self) -> str:
        """The word that installs it where nothing else does."""
        return "pytest" if self.is_undeclared else ""


def detect_python(found: Manifests) -> Part | None:
    if not found.names & SIGNS:
        return None
    about = found.table("pyproject.toml")
    pytest = _find_pytest(found, about)
    setup, test = _choose_setup(found, about, pytest)
    return Part(language="Python", test=test if pytest.is_used else None, setup=setup)


def _choose_setup(found: Manifests, about: Mapping[str, Any], pytest: _Pytest) -> tuple[tuple[str, ...], str]:
    """The setup commands by the project's package manager, and how pytest is called."""
    if "uv.lock" in found.names:
        setup = _uv_setup(pytest)
        return setup, "uv run --no-sync pytest -q" if setup else "uv run pytest -q"
    if "poetry.lock" in found.names or inner_table(about, "tool", "poetry"):
        return _poetry_setup(found, about, pytest), _PYTEST
    if "pdm.lock" in found.names:
        return _manager_setup("pdm", "pdm install --frozen-lockfile", pytest), _PYTEST
    if "Pipfile" in found.names:
        sync = "sync" if "Pipfile.lock" in found.names else "install"
        return _manager_setup("pipenv", f"PIPENV_VENV_IN_PROJECT=1 pipenv {sync} --dev", pytest), _PYTEST
    return _pip_setup(found, about, pytest), _PYTEST


def _find_pytest(found: Manifests, about: Mapping[str, Any]) -> _Pytest:
    extras = inner_table(about, "project", "optional-dependencies")
    groups = inner_table(about, "dependency-groups")
    defaults = inner_table(about, "tool", "uv").get("default-groups", ["dev"])
    in_groups = tuple(name for name in groups if _names_pytest(_expand_group(groups, name)))
    optional = tuple(name for name in in_groups if defaults != "all" and name not in defaults)
    poetry_groups = inner_table(about, "tool", "poetry", "group")
    of_poetry = [
        name for name in poetry_groups if "pytest" in inner_table(poetry_groups, name, "dependencies")
    ]
    optional += tuple(name for name in of_poetry if inner_table(poetry_groups, name).get("optional"))
    declared = _Pytest(
        is_plain=_is_declared_plainly(found, about) or len(in_groups) + len(of_poetry) > len(optional),
        extras=tuple(name for name, wanted in extras.items() if _names_pytest(wanted)),
        groups=optional,
        files=tuple(name for name in _REQUIREMENTS if _NAMED_PYTEST.search(found.text(name))),
    )
    return declared if declared.is_used else _Pytest(is_undeclared=_has_tests(found))


def _is_declared_plainly(found: Manifests, about: Mapping[str, Any]) -> bool:
    old_poetry = inner_table(about, "tool", "poetry")
    lists = (
        inner_table(about, "project").get("dependencies"),
        inner_table(about, "tool", "uv").get("dev-dependencies"),
        *inner_table(about, "tool", "pdm", "dev-dependencies").values(),
    )
    return (
        any(map(_names_pytest, lists))
        or any("pytest" in inner_table(old_poetry, key) for key in ("dependencies", "dev-dependencies"))
        or _NAMED_PYTEST.search(found.text("requirements.txt")) is not None
        or _NAMED_PYTEST.search(found.text("Pipfile")) is not None
    )


def _has_tests(found: Manifests) -> bool:
    ours = [name for name in READ if name not in ("package.json", "composer.json", "Makefile")]
    return (
        any("pytest" in found.text(name) for name in ours)
        or bool(found.names & {"tests", "test", "conftest.py", "pytest.ini"})
        or any(name.startswith("test_") and name.endswith(".py") for name in found.names)
    )


def _expand_group(groups: Mapping[str, Any], name: str, depth: int = 8) -> Iterator[object]:
    """The requirements of a dependency group, with those of the groups that it includes."""
    own = groups.get(name)
    for each in own if isinstance(own, list) else ():
        if isinstance(each, dict):
            if depth and isinstance(inner := each.get("include-group"), str):
                yield from _expand_group(groups, inner, depth - 1)
        else:
            yield each


def _names_pytest(wanted: object) -> bool:
    """Whether one of these requirements is pytest or a plugin, which brings it."""
    if not isinstance(wanted, list | Iterator):
        return False
    return any(isinstance(each, str) and _NAMED_PYTEST.match(each) for each in wanted)


def _uv_setup(pytest: _Pytest) -> tuple[str, ...]:
    """Nothing where `uv sync --frozen`, which a run discovers, brings pytest."""
    if pytest.is_plain or not pytest.is_used:
        return ()
    if pytest.is_undeclared:
        return ("uv sync --frozen", f"{_UV_PIP} pytest")
    option = (
        f"--group {pytest.groups[0]}"
        if pytest.groups
        else "".join(f"--extra {name}" for name in pytest.extras[:1])
    )
    return (f"uv sync --frozen {option}".rstrip(),)


def _manager_setup(name: str, command: str, pytest: _Pytest) -> tuple[str, ...]:
    """Install a package manager that the image may lack, then the project's dependencies with it."""
    home = f"{SETUP_FOLDER}/{name}"
    install = (
        f"command -v {name} > /dev/null || {{\n"
        f"python3 -I -m venv {home}\n"
        f"{home}/bin/python -I -m pip install --disable-pip-version-check {name}\n"
        f"mkdir -p {SETUP_FOLDER}/bin\n"
        f"ln -s {home}/bin/{name} {SETUP_FOLDER}/bin/{name}\n}}"
    )
    return (install, command, *([f"{_UV_PIP} pytest"] if pytest.is_undeclared else []))


def _poetry_setup(found: Manifests, about: Mapping[str, Any], pytest: _Pytest) -> tuple[str, ...]:
    poetry = inner_table(about, "tool", "poetry")
    words = ["POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --no-interaction"]
    if not pytest.is_plain:
        words += [f"--with {name}" for name in pytest.groups[:1]]
        words += [f"--extras {name}" for name in pytest.extras[:1] if not pytest.groups]
    # Without a package to install, Poetry ends with an error unless it gets --no-root.
    name = str(poetry.get("name") or inner_table(about, "project").get("name") or "")
    if not ({re.sub(r"[-.]+", "_", name).lower(), "src"} & found.names or "packages" in poetry):
        words.append("--no-root")
    return _manager_setup("poetry", " ".join(words), pytest)


def _pip_setup(found: Manifests, about: Mapping[str, Any], pytest: _Pytest) -> tuple[str, ...]:
    """The requirements files, the project itself where it is a package, and what its tests need."""
    is_package = "setup.py" in found.names or "project" in about or "build-system" in about
    files = dict.fromkeys(name for name in ("requirements.txt", *pytest.files) if name in found.names)
    words = [f"-r {name}" for name in files]
    if is_package:
        words.append(f"-e '.[{pytest.extras[0]}]'" if pytest.extras else "-e .")
    if not pytest.extras:
        groups = inner_table(about, "dependency-groups")
        wanted = [name for name in groups if _names_pytest(_expand_group(groups, name))]
        words += [f"--group {name}" for name in wanted[:1]]
    words += [pytest.alone] if pytest.alone else []
    # A run discovers a requirements.txt by itself.
    if not words or words == ["-r requirements.txt"]:
        return ()
    return (f"uv venv --seed .venv\n{_UV_PIP} {' '.join(words)}",)
