"""Files that come with the program: the recipe of the agent image and the example.

A wheel carries them inside the package, in the same folders as in a checkout.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
"""The folder of the installed package, for messages about a file that is missing."""


def find_shipped(path: str) -> Path | None:
    """The file or folder at this path of a checkout: of the installed package, else of the checkout."""
    found = (root / path for root in (PACKAGE / "_deploy", PACKAGE.parents[1]))
    return next((each for each in found if each.exists()), None)


def find_commit() -> str | None:
    """The first 12 digits of the commit that is checked out, where the program runs from a clone.

    None for an installed package, and for a clone whose HEAD is stored in another way than as a file or in
    `packed-refs` (gitrepository-layout(5)). Read without git, because `--version` has to be quick.
    """
    folder = PACKAGE.parents[1] / ".git"
    try:
        if folder.is_file():  # of a worktree
            folder = folder.parent / folder.read_text().removeprefix("gitdir: ").strip()
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head[:12]
        branch = head.removeprefix("ref: ")
        if (folder / "commondir").is_file():
            folder = folder / (folder / "commondir").read_text().strip()
        if (folder / branch).is_file():
            return (folder / branch).read_text()[:12]
        packed = (line.split(" ") for line in (folder / "packed-refs").read_text().splitlines())
        return next((words[0][:12] for words in packed if words[1:] == [branch]), None)
    except OSError:
        return None
