"""The commands that install a project's dependencies, discovered by its lock files. Pure.

Lock files are looked for at the root of the repository and in the folders of `setup.folders`.
"""

import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

SETUP_FOLDER = "/opt/setup"
"""Where setup stores files outside of the code folder. It is part of the image, while HOME is empty."""

ENVIRONMENT: Mapping[str, str] = {
    "BUNDLE_PATH": f"{SETUP_FOLDER}/bundle",
    "CARGO_HOME": f"{SETUP_FOLDER}/cargo",
    "GOMODCACHE": f"{SETUP_FOLDER}/go-modules",
    "GRADLE_USER_HOME": f"{SETUP_FOLDER}/gradle",
    "MAVEN_OPTS": f"-Dmaven.repo.local={SETUP_FOLDER}/maven",
    "UV_CACHE_DIR": f"{SETUP_FOLDER}/uv-cache",
    "UV_PYTHON_INSTALL_DIR": f"{SETUP_FOLDER}/python",
    "YARN_GLOBAL_FOLDER": f"{SETUP_FOLDER}/yarn",
}
"""Moves the stores of package managers that link into them there, for setup, gates and agents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageManager:
    name: str
    lock: str
    command: str
    folder: str = ""
    """The folder below the root in which its lock file is; empty for the root."""

    def in_folder(self, folder: str) -> "PackageManager":
        """The manager of a project below the root; its command runs in that folder."""
        command = run_in_folder(folder, self.command)
        return replace(self, lock=f"{folder}/{self.lock}", command=command, folder=folder)


def run_in_folder(folder: str, command: str) -> str:
    """A shell block that runs `command` in a folder of the repository; "" is the root."""
    return command if not folder else f"cd {shlex.quote(folder)}\n{command}"


def _node_manager(name: str, package: str, install: str) -> str:
    """The command of a manager that the image may lack: install its version from `package.json` first."""
    return (
        f"command -v {name} > /dev/null || npm install --global --no-fund --no-audit "
        f"--prefix {SETUP_FOLDER} \"$(jq -r '{package}' package.json)\"\n{install}"
    )


_NAMED = '.packageManager // "{name}" | split("+")[0]'
_YARN = _NAMED.format(name="yarn") + ' | if test("^yarn@[2-9]") then "@yarnpkg/cli-dist" + .[4:] else . end'

# A project uses one manager of each group: the first one whose lock file exists.
GROUPS: tuple[tuple[PackageManager, ...], ...] = (
    (
        PackageManager(name="uv", lock="uv.lock", command="uv sync --frozen"),
        PackageManager(
            name="pip",
            lock="requirements.txt",
            # Isolated (-I): Python must not import a `pip` or `venv` from the code folder.
            command="python3 -I -m venv .venv\n"
            ".venv/bin/python -I -m pip install --disable-pip-version-check -r requirements.txt",
        ),
    ),
    (
        PackageManager(
            name="pnpm",
            lock="pnpm-lock.yaml",
            command=_node_manager(
                "pnpm",
                _NAMED.format(name="pnpm"),
                f"pnpm install --frozen-lockfile --store-dir {SETUP_FOLDER}/pnpm-store",
            ),
        ),
        PackageManager(
            name="yarn",
            lock="yarn.lock",
            command=_node_manager(
                "yarn",
                _YARN,
                "if grep -q '^__metadata:' yarn.lock; then yarn install --immutable\n"
                "else yarn install --frozen-lockfile; fi",
            ),
        ),
        PackageManager(name="npm", lock="package-lock.json", command="npm ci --no-fund --no-audit"),
    ),
    (PackageManager(name="cargo", lock="Cargo.lock", command="cargo fetch --locked"),),
    (PackageManager(name="go", lock="go.sum", command="go mod download"),),
)

LOCK_FILES = (
    *("requirements*.txt", "requirements*.in", "constraints*.txt"),
    *(
        "npm-shrinkwrap.json",
        "poetry.lock",
        "Pipfile.lock",
        "pdm.lock",
        "bun.lock",
        "bun.lockb",
        "composer.lock",
        "gradle.lockfile",
        "environment.yml",
    ),
    *("pnpm-workspace.yaml", ".npmrc", ".yarnrc", ".yarnrc.yml", "uv.toml", "pip.conf"),
)
"""Besides those of GROUPS: patterns of file names whose content decides about dependencies."""
UNKNOWN_LOCKS = frozenset(
    {
        *("poetry.lock", "Pipfile.lock", "pdm.lock", "pylock.toml", "conda-lock.yml", "environment.yml"),
        *("bun.lock", "bun.lockb", "npm-shrinkwrap.json", "deno.lock"),
        *("Gemfile.lock", "composer.lock", "gradle.lockfile", "mix.lock", "Package.resolved"),
    }
)
"""Lock files that setup does not know."""
MANIFESTS = (
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "package.json",
    "Cargo.toml",
    "go.mod",
    "Gemfile",
    "Gemfile.lock",
    "Pipfile",
    "composer.json",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
)
"""Files with more than a lock file has, such as entry points, which an editable install reads."""
_REQUIREMENTS_FOLDER = re.compile(
    r"(?:^|/)(?:requirements|constraints|deps|dependencies)/[^/]+\.(?:txt|in|toml)$"
)


def discover(files: Iterable[str], folders: Iterable[str] = ()) -> tuple[PackageManager, ...]:
    """The package managers of a project, by the lock files at its root and in each of `folders`."""
    paths = frozenset(files)
    found = []
    for folder in dict.fromkeys(posixpath.normpath(folder) for folder in (".", *folders)):
        prefix = "" if folder == "." else f"{folder}/"
        for group in GROUPS:
            manager = next((each for each in group if f"{prefix}{each.lock}" in paths), None)
            if manager is not None:
                found.append(manager.in_folder(folder) if prefix else manager)
    return tuple(found)


def name_manager(lock: str) -> str:
    """The package manager that reads this lock file, which `discover` has found."""
    return next(each.name for group in GROUPS for each in group if each.lock == lock.rpartition("/")[2])


def is_lock_file(path: str) -> bool:
    name = path.rpartition("/")[2]
    known = {each.lock for group in GROUPS for each in group}
    if name in known or any(fnmatchcase(name, pattern) for pattern in LOCK_FILES):
        return True
    return _REQUIREMENTS_FOLDER.search(path) is not None


def is_read_by(path: str, commands: Iterable[str]) -> bool:
    """Whether the commands name the file, or may read it because it is a manifest."""
    if path.rpartition("/")[2] in MANIFESTS:
        return True
    words = {word.removeprefix("./") for command in commands for word in _WORDS.split(command)}
    return path in words


_WORDS = re.compile(r"[\s;&|()<>'\"=]+")
