"""The program that runs inside separates the files of the tree from those of setup."""

import json
from pathlib import Path

import pytest

from orchestrator.gates.setup_tree import conclude, record


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    for path in ("a.py", "src/pkg/b.py", "docs/deep/c.md", "dir with spaces/ü.txt"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("not the tree's")
    (root / "link").symlink_to("a.py")
    return root


def write(root: Path, path: str, content: str = "made") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


def test_only_files_that_setup_made_remain(tree: Path) -> None:
    before = json.loads(json.dumps(record(str(tree))))
    for path in (".venv/bin/python", "src/pkg/__pycache__/b.pyc", "src/config.py", "empty/x"):
        write(tree, path)
    (tree / "empty" / "x").unlink()
    about = conclude(str(tree), before, system=str(tree))
    assert about["produced"] == [".venv/", "empty/", "src/config.py", "src/pkg/__pycache__/"]
    assert about["changed"] == []
    left = sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file())
    assert left == [".git/config", ".venv/bin/python", "src/config.py", "src/pkg/__pycache__/b.pyc"]
    assert not (tree / "docs").exists() and not (tree / "link").is_symlink()


def test_nothing_remains_when_setup_makes_nothing(tree: Path) -> None:
    about = conclude(str(tree), record(str(tree)), system=str(tree))
    assert about["produced"] == []
    assert [path.name for path in tree.iterdir()] == [".git"]


def test_changed_files_of_the_tree_are_reported_and_removed(tree: Path) -> None:
    before = record(str(tree))
    write(tree, "a.py", "other")
    (tree / "src" / "pkg" / "b.py").unlink()
    (tree / "docs" / "deep" / "c.md").chmod(0o755)
    about = conclude(str(tree), before, system=str(tree))
    assert about["changed"] == ["a.py", "docs/deep/c.md", "src/pkg/b.py"]
    assert not (tree / "a.py").exists()


@pytest.mark.parametrize(("content", "itself"), [("*\n", True), ("# all\n*\n", True), ("*.pyc\n", False)])
def test_folders_with_a_gitignore_of_their_own_are_reported(tree: Path, content: str, itself: bool) -> None:
    before = record(str(tree))
    write(tree, ".venv/.gitignore", content)
    assert conclude(str(tree), before, system=str(tree))["self_ignored"] == ([".venv/"] if itself else [])


DIRECT_URLS = {
    "copy": ({"url": "file://{root}", "dir_info": {}}, True),
    "copy, said so": ({"url": "file://{root}", "dir_info": {"editable": False}}, True),
    "copy of a part": ({"url": "file://{root}/packages/a", "dir_info": {}}, True),
    "editable": ({"url": "file://{root}", "dir_info": {"editable": True}}, False),
    "elsewhere": ({"url": "file://{root}-other", "dir_info": {}}, False),
    "an archive": ({"url": "file://{root}/vendor/a.whl", "archive_info": {}}, False),
}


@pytest.mark.parametrize(("about", "is_copy"), DIRECT_URLS.values(), ids=DIRECT_URLS)
def test_an_installed_copy_of_the_project_is_found(
    tree: Path, about: dict[str, object], is_copy: bool
) -> None:
    before = record(str(tree))
    place = ".venv/lib/python3.11/site-packages/shapes-1.dist-info"
    text = json.dumps(about).replace("{root}", str(tree))
    write(tree, f"{place}/direct_url.json", text)
    found = conclude(str(tree), before, system=str(tree))["installed"]
    assert found == ([str(tree / place)] if is_copy else [])


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pyproject.toml", '[project]\nname = "My.Shapes"\n'),
        ("pyproject.toml", '[tool.poetry]\nname = "my-shapes"\n'),
        ("setup.cfg", "[metadata]\nname = my_shapes\n"),
    ],
)
@pytest.mark.parametrize(
    ("installed", "about", "is_copy"),
    [
        ("my_shapes-1", {"url": "file:///tmp/my_shapes-1.whl", "archive_info": {}}, True),
        ("my_shapes-1", None, True),
        ("my_shapes-1", {"url": "file://{root}", "dir_info": {"editable": True}}, False),
        ("other_shapes-1", None, False),
    ],
    ids=["wheel", "from anywhere", "editable", "another"],
)
def test_an_installed_copy_is_found_by_the_projects_name(
    tree: Path, file: str, text: str, installed: str, about: dict[str, object] | None, is_copy: bool
) -> None:
    write(tree, file, text)
    before = record(str(tree))
    place = f".venv/lib/python3.11/site-packages/{installed}.dist-info"
    write(tree, f"{place}/INSTALLER", "pip\n")
    if about is not None:
        write(tree, f"{place}/direct_url.json", json.dumps(about).replace("{root}", str(tree)))
    found = conclude(str(tree), before, system=str(tree))["installed"]
    assert found == ([str(tree / place)] if is_copy else [])
