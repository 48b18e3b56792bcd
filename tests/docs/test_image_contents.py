"""The page about the image lists what its Dockerfile installs, and nothing else."""

import re

from docs_kit import ROOT

DOCKERFILE = (ROOT / "deploy/docker/coding-agent/Dockerfile").read_text()
PAGE = (ROOT / "docs/project-needs.md").read_text()
TABLE = PAGE.partition("## What is in the image")[2].partition("\n## ")[0]


def listed_in(row: str) -> set[str]:
    (line,) = re.findall(rf"^\| {row} \| (.*) \|$", TABLE, re.MULTILINE)
    # Names in parentheses are programs of the package before them.
    return set(re.findall(r"`([^`]+)`", re.sub(r"\([^)]*\)", "", line)))


def test_the_page_lists_the_packages_of_debian() -> None:
    installed = re.findall(r"apt-get install -y --no-install-recommends ([^\\\n]+)", DOCKERFILE)
    assert listed_in("Debian") == {name for words in installed for name in words.split()}


def test_the_page_lists_the_programs_from_elsewhere() -> None:
    copied = re.findall(r"^COPY --from=fetch (.*) /usr/local/bin/$", DOCKERFILE, re.MULTILINE)
    programs = {path.rpartition("/")[2] for paths in copied for path in paths.split()}
    links = set(re.findall(r"/usr/local/bin/(\w+)", DOCKERFILE.partition("RUN ln -s")[2]))
    assert listed_in("elsewhere") == programs | links
