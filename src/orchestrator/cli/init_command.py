"""`init`: write a commented orchestrator.toml with what the repository tells."""

import argparse
from pathlib import Path

from orchestrator.cli.host import this_host
from orchestrator.errors import UsageError

LARGEST = 1_000_000


def add_init(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=init)


def init(_arguments: argparse.Namespace) -> int:
    from orchestrator.commands.init import TOLD_BY, configuration, look, secrets_below
    from orchestrator.files import give_to
    from orchestrator.subprocesses import Identity

    folder = this_host().code_folder()
    path = folder / "orchestrator.toml"
    texts = {name: text for name in TOLD_BY if (text := _text(folder / name)) is not None}
    found = look({entry.name for entry in folder.iterdir()}, texts, secrets_below(folder))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(configuration(found))
            owner = folder.stat()
            give_to(file.fileno(), Identity(uid=owner.st_uid, gid=owner.st_gid))
    except FileExistsError:
        raise UsageError(
            "it is there already", where=str(path), hint="`orchestrator doctor` shows what it says."
        ) from None
    except OSError as error:
        raise UsageError(f"it cannot be written: {error.strerror}", where=str(path)) from None
    print(f"wrote {path}")
    print(f"found: {', '.join((*found.languages, *found.managers)) or 'nothing that tells'}")
    if found.secrets:
        print(f"hidden from the agent: {', '.join(found.secrets)}")
    return 0


def _text(path: Path) -> str | None:
    """Of a regular file of a reasonable size."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        return None
    return path.read_text("utf-8", "replace")
