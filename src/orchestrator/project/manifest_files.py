"""The manifests of a code folder, read from disk; `gates/detection.py` says what they mean."""

import os
from pathlib import Path

from orchestrator.files import read_regular
from orchestrator.gates.detection import DetectedProject, detect_project
from orchestrator.gates.manifests import READ, Manifests
from orchestrator.gates.python_manifests import SIGNS

LARGEST_BYTES = 500_000
_DEEPEST = 2
_MOST_FOLDERS = 12
NOT_THE_PROJECTS = frozenset(
    {".git", ".venv", "venv", "node_modules", "target", "vendor", "site-packages", "dist", "build"}
)
"""Folders of dependencies and products."""
_NOT_A_PART = NOT_THE_PROJECTS | {
    *("test", "tests", "testdata", "fixtures", "spec", "example", "examples", "sample", "samples"),
    *("doc", "docs", "benchmark", "benchmarks", "template", "templates", "third_party"),
}
_SIGNS = SIGNS | {
    *("package.json", "Cargo.toml", "go.mod", "pom.xml", "build.gradle", "build.gradle.kts"),
    *("composer.json", "Gemfile"),
}


def find_project(folder: Path) -> DetectedProject:
    """The project that the manifests of a folder describe, and those of folders up to two levels below."""
    below = {str(path.relative_to(folder)): _read_manifests(path) for path in _list_parts(folder)}
    return detect_project(_read_manifests(folder), below)


def _read_manifests(folder: Path) -> Manifests:
    texts = {name: text for name in READ if (text := _read_text(folder / name)) is not None}
    return Manifests(names=frozenset(entry.name for entry in folder.iterdir()), texts=texts)


def _read_text(path: Path) -> str | None:
    """The text of a regular file of a reasonable size."""
    try:
        return read_regular(path, limit=LARGEST_BYTES, follow=True).decode("utf-8", "replace")
    except OSError:
        return None


def _list_parts(folder: Path) -> list[Path]:
    """Folders below the root that have a manifest; the search is bounded and follows no link."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        depth = len(Path(parent).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if name not in _NOT_A_PART and not name.startswith("."))
        if depth and _SIGNS.intersection(files):
            found.append(Path(parent))
        if depth == _DEEPEST:
            folders.clear()
    return sorted(path for path in found if str(path).isprintable())[:_MOST_FOLDERS]
