"""What the user kept out of git before a run's agents could say otherwise."""

from orchestrator.project.run_folder import RunFolder
from orchestrator.workspace.tree import Baseline


def ignored_before(folder: RunFolder) -> frozenset[str]:
    """What git ignored before any attempt of a run: the user's own, even if an agent changes `.gitignore`."""
    known = (Baseline.from_json(path.read_text("utf-8")).ignored for path in folder.baselines())
    return frozenset[str]().union(*known)
