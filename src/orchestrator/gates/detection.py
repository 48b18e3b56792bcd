"""Proposes settings for the first run of a project, by the manifests at its root and in folders below. Pure.

Where a lock file leads to a setup command, `discovery` finds it at the start of each run. This module finds
everything else: the command that runs the tests, the commands that install dependencies which no lock file
announces, and the Debian packages of a language that the image lacks.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.gates.discovery import SETUP_FOLDER, UNKNOWN_LOCKS, PackageManager, discover, run_in_folder
from orchestrator.gates.manifests import Manifests, Part, inner_table
from orchestrator.gates.python_manifests import detect_python
from orchestrator.programs import (
    CARGO_PACKAGES,
    GO_PACKAGES,
    JAVA_PACKAGES,
    PHP_PACKAGES,
    RUBY_PACKAGES,
)

DEBIAN_GO = (1, 19)
DEBIAN_RUST = (1, 63)
"""The versions in the release of Debian that the agent image is built on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedProject:
    """Everything that was found in a repository."""

    languages: tuple[str, ...] = ()
    lock_files: tuple[str, ...] = ()
    """Those that setup installs from, each with its package manager, as in `uv.lock (uv)`."""
    unknown_locks: tuple[str, ...] = ()
    """Those at the root that setup does not know: `setup.commands` has to install from them."""
    tests: tuple[str, ...] = ()
    """Commands to run at the root of the repository."""
    setup: tuple[str, ...] = ()
    """For `setup.commands`; empty where lock files are enough."""
    folders: tuple[str, ...] = ()
    """For `setup.folders`; empty where `setup` has commands."""
    packages: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Problems that only the user can solve, one sentence each."""

    @property
    def all_locks(self) -> tuple[str, ...]:
        """All lock files, each with its package manager or the setting that has to install from it."""
        return (*self.lock_files, *(f"{name} (by setup.commands)" for name in self.unknown_locks))


def detect_project(root: Manifests, below: Mapping[str, Manifests]) -> DetectedProject:
    """A project by its root and its folders below the root, such as `web` or `services/api`.

    A folder counts only for languages that the root does not have: where the root has a manifest of the same
    language, the folder is a member of a workspace, a sample or a test.
    """
    parts = [("", part) for part in _detect_parts(root)]
    known = {part.language for _, part in parts}
    parts += [
        (folder, part)
        for folder, manifests in below.items()
        for part in _detect_parts(manifests)
        if part.language not in known
    ]
    managers = _discover_managers(root, below, parts)
    setup = _list_setup(parts, managers)
    tests = [
        f"cd {shlex.quote(folder)} && {part.test}" if folder else part.test
        for folder, part in parts
        if part.test is not None
    ]
    if any(part.test and not folder for folder, part in parts):
        tests = tests[:1]
    return DetectedProject(
        languages=tuple(dict.fromkeys(part.language for _, part in parts)),
        lock_files=tuple(f"{each.lock} ({each.name})" for each in managers),
        unknown_locks=tuple(sorted(root.names & UNKNOWN_LOCKS)),
        tests=tuple(tests) or _find_make_target(root),
        setup=setup,
        folders=() if setup else tuple(dict.fromkeys(each.folder for each in managers if each.folder)),
        packages=tuple(dict.fromkeys(package for _, part in parts for package in part.packages)),
        notes=tuple(part.note for _, part in parts if part.note is not None),
    )


_RUNNER = re.compile(
    r"(?:\S+ )*pytest -q|(?:npm|pnpm|yarn|bun run) test|make (?:test|check)|cargo test|go test \./\.\.\."
)
_INSTALLER = re.compile(r"\b(?:npx|uvx|bunx|pipx)\b|\bdlx\b|\b(?:npm|pnpm|yarn) (?:install|add|ci)\b")
_WATCHER = re.compile(
    r"--watch(?:All)?\b(?!=false)|\bnodemon\b|\breact-scripts test\b|\bvitest\b(?!.*(?:\brun\b|--run\b))"
)


def discover_check(root: Manifests, *, has_setup: bool) -> str | None:
    """The command that runs the tests of a project, for tasks that nothing else checks; None without one.

    It must neither install anything nor wait for changes of files. `has_setup`: whether setup makes `.venv`.
    """
    command = next(iter(detect_project(root, {}).tests), None)
    if command is None or _RUNNER.fullmatch(command) is None:
        return None
    script = str(inner_table(root.table("package.json"), "scripts").get("test", ""))
    recipe = re.search(r"^(?:test|check)\s*:(?!=).*\n((?:\t.*\n?)*)", root.text("Makefile"), re.MULTILINE)
    called = script if "test" in command and "pytest" not in command and "make" not in command else ""
    if command.startswith("make"):
        called = recipe[1] if recipe else ""
    if _INSTALLER.search(called) or _WATCHER.search(called):
        return None
    if command.startswith("uv run"):
        return "uv run --no-sync pytest -q"
    return command if has_setup else command.replace(".venv/bin/python ", "python3 ")


def _discover_managers(
    root: Manifests, below: Mapping[str, Manifests], parts: Sequence[tuple[str, Part]]
) -> tuple[PackageManager, ...]:
    """Those that a run would discover in the folders that count."""
    folders = dict.fromkeys(folder for folder, _ in parts if folder)
    paths = {f"{folder}/{name}" for folder in folders for name in below[folder].names}
    return discover(root.names | paths, folders)


def _list_setup(parts: Sequence[tuple[str, Part]], managers: Sequence[PackageManager]) -> tuple[str, ...]:
    """Commands for everything, as soon as one part needs any: configured commands replace discovered ones."""
    if not any(part.setup for _, part in parts):
        return ()
    own = [(folder, _MANAGERS.get(part.language, ())) for folder, part in parts if part.setup]
    kept = [
        each.command
        for each in managers
        if not any(folder == each.folder and each.name in names for folder, names in own)
    ]
    return (*kept, *(run_in_folder(folder, each) for folder, part in parts for each in part.setup))


_MANAGERS: Mapping[str, tuple[str, ...]] = {
    "Python": ("uv", "pip"),
    "JavaScript or TypeScript": ("pnpm", "yarn", "npm"),
}
"""Package managers whose discovered command the setup of a language replaces."""


def _find_make_target(root: Manifests) -> tuple[str, ...]:
    found = re.search(r"^(test|check)\s*:(?!=)", root.text("Makefile"), re.MULTILINE)
    return (f"make {found[1]}",) if found else ()


def _detect_parts(manifests: Manifests) -> list[Part]:
    return [part for detect in _DETECTORS if (part := detect(manifests)) is not None]


def _detect_node(found: Manifests) -> Part | None:
    if "package.json" not in found.names:
        return None
    package = found.table("package.json")
    locks = {"pnpm-lock.yaml": "pnpm", "yarn.lock": "yarn", "bun.lock": "bun", "bun.lockb": "bun"}
    named = str(package.get("packageManager", "")).partition("@")[0]
    by_lock = next((name for lock, name in locks.items() if lock in found.names), None)
    manager = by_lock or (named if named in ("pnpm", "yarn", "bun") else "npm")
    script = inner_table(package, "scripts").get("test")
    # `npm init` writes a script that fails.
    has_script = isinstance(script, str) and "no test specified" not in script
    is_locked = bool(found.names & {"pnpm-lock.yaml", "yarn.lock", "package-lock.json"})
    needs = any(inner_table(package, key) for key in ("dependencies", "devDependencies"))
    return Part(
        language="JavaScript or TypeScript",
        test=f"{manager} {'run ' if manager == 'bun' else ''}test" if has_script else None,
        setup=() if is_locked else _list_node_setup(found, manager, needs=needs),
    )


def _list_node_setup(found: Manifests, manager: str, *, needs: bool) -> tuple[str, ...]:
    if "npm-shrinkwrap.json" in found.names:
        return ("npm ci --no-fund --no-audit",)
    if manager == "npm":
        return ("npm install --no-package-lock --no-fund --no-audit",) if needs else ()
    install = (
        f"command -v {manager} > /dev/null || "
        f"npm install --global --no-fund --no-audit --prefix {SETUP_FOLDER} {manager}"
    )
    options = {
        "bun": " --frozen-lockfile" if found.names & {"bun.lock", "bun.lockb"} else "",
        "pnpm": f" --no-lockfile --store-dir {SETUP_FOLDER}/pnpm-store",
    }
    return (install, f"{manager} install{options.get(manager, '')}")


def _detect_rust(found: Manifests) -> Part | None:
    if "Cargo.toml" not in found.names:
        return None
    has_openssl = 'name = "openssl-sys"' in found.text("Cargo.lock")
    wanted = inner_table(found.table("Cargo.toml"), "package").get("rust-version")
    return Part(
        language="Rust",
        test="cargo test",
        packages=(*CARGO_PACKAGES, *(("pkg-config", "libssl-dev") if has_openssl else ())),
        note=_join_notes(
            _describe_old_toolchain("Cargo.toml", "Rust", str(wanted or ""), DEBIAN_RUST),
            None
            if "Cargo.lock" in found.names or not _names_crates(found)
            else "Cargo.toml has dependencies and there is no Cargo.lock, so nothing will be installed: "
            'commit one (cargo generate-lockfile), or set setup.commands = ["cargo fetch"]',
        ),
    )


def _detect_go(found: Manifests) -> Part | None:
    if "go.mod" not in found.names:
        return None
    wanted = re.search(r"^go\s+(\S+)", found.text("go.mod"), re.MULTILINE)
    return Part(
        language="Go",
        test="go test ./...",
        packages=GO_PACKAGES,
        note=_join_notes(
            _describe_old_toolchain("go.mod", "Go", wanted[1] if wanted else "", DEBIAN_GO),
            None
            if "go.sum" in found.names or _GO_REQUIRE.search(found.text("go.mod")) is None
            else "go.mod has dependencies and there is no go.sum, so nothing will be installed: "
            "run `go mod tidy` and commit go.sum",
        ),
    )


_GO_REQUIRE = re.compile(r"^require\b", re.MULTILINE)


def _names_crates(found: Manifests) -> bool:
    about = found.table("Cargo.toml")
    tables = (about, inner_table(about, "workspace"))
    return any(inner_table(table, key) for table in tables for key in ("dependencies", "dev-dependencies"))


def _join_notes(*notes: str | None) -> str | None:
    return ". ".join(note for note in notes if note is not None) or None


def _describe_old_toolchain(file: str, language: str, wanted: str, debian: tuple[int, int]) -> str | None:
    version = re.match(r"(\d+)\.(\d+)", wanted)
    if version is None or (int(version[1]), int(version[2])) <= debian:
        return None
    return (
        f"{file} asks for {language} {wanted}, and the image's Debian has {debian[0]}.{debian[1]}: "
        "install a newer one with image.dockerfile instead of image.packages"
    )


def _detect_php(found: Manifests) -> Part | None:
    if "composer.json" not in found.names:
        return None
    about = found.table("composer.json")
    uses_phpunit = "phpunit/phpunit" in inner_table(about, "require-dev")
    test = "vendor/bin/phpunit" if uses_phpunit else None
    return Part(
        language="PHP",
        test="composer test" if "test" in inner_table(about, "scripts") else test,
        setup=("composer install --no-interaction --no-progress",) if _names_php_packages(about) else (),
        packages=PHP_PACKAGES,
    )


def _names_php_packages(about: Mapping[str, Any]) -> bool:
    """Whether there is anything to install: PHP itself and its extensions are not."""
    wanted = (*inner_table(about, "require"), *inner_table(about, "require-dev"))
    return any("/" in name for name in wanted)


def _detect_ruby(found: Manifests) -> Part | None:
    if "Gemfile" not in found.names:
        return None
    rake = "bundle exec rake test" if "Rakefile" in found.names else None
    frozen = "BUNDLE_FROZEN=true " if "Gemfile.lock" in found.names else ""
    return Part(
        language="Ruby",
        test="bundle exec rspec" if found.names & {"spec", ".rspec"} else rake,
        setup=(f"{frozen}bundle install",),
        packages=RUBY_PACKAGES,
    )


def _detect_java(found: Manifests) -> Part | None:
    if "pom.xml" in found.names:
        return Part(
            language="Java",
            test="mvn --batch-mode --quiet test",
            setup=("mvn --batch-mode --quiet dependency:go-offline",),
            packages=("maven", *JAVA_PACKAGES),
        )
    if not found.names & {"build.gradle", "build.gradle.kts"}:
        return None
    gradle = "./gradlew" if "gradlew" in found.names else "gradle"
    return Part(
        language="Java",
        test=f"{gradle} --no-daemon test",
        setup=(f"{gradle} --no-daemon dependencies",),
        packages=JAVA_PACKAGES if gradle == "./gradlew" else ("gradle", *JAVA_PACKAGES),
    )


_DETECTORS: tuple[Callable[[Manifests], Part | None], ...] = (
    detect_python,
    _detect_rust,
    _detect_go,
    _detect_java,
    _detect_php,
    _detect_ruby,
    _detect_node,
)
"""JavaScript last: many projects in another language have a package.json for their formatter or site."""
