"""Imports that would take long, made short: a command starts at each prompt, and completion at each key."""

import sys
from importlib import import_module


def import_msgspec() -> None:
    """Import msgspec, which every command needs, without typing_extensions.

    msgspec takes three names from typing_extensions if that is installed, else the same ones from typing. To
    import typing_extensions, and with it `inspect`, takes as long as the interpreter needs to start.
    """
    if "typing_extensions" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # as if not installed
    try:
        import_module("msgspec")
    finally:
        del sys.modules["typing_extensions"]
