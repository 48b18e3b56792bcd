"""A hook of the build: a wheel has the manual page, made from the command line's own description."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManualPage(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "standard":
            return  # an editable installation shows `--help`
        sys.path.insert(0, str(Path(self.root, "src")))
        from orchestrator.cli.manual import render

        page = Path(tempfile.mkdtemp()) / "orchestrator.1"
        page.write_text(render(), "utf-8")
        build_data["shared_data"][str(page)] = "share/man/man1/orchestrator.1"
