"""Where a run keeps its files, in the state folder and out of the agent's reach."""

from pathlib import Path

from msgspec import Struct

from orchestrator.files import Owner, make_private_folder


class _Below:
    """A path of that name below the root of a folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: "AttemptFolders | RunFolder", kind: type) -> Path:
        return folder.root / self._name


class AttemptFolders(Struct, frozen=True, kw_only=True):
    """The folders of one attempt; those the container writes to belong to its user."""

    root: Path
    inbox = _Below("in")
    outbox = _Below("out")
    home = _Below("home")
    git = _Below("git")
    transcript = _Below("transcript")
    baseline = _Below("baseline.json")
    moved_away = _Below("moved-away")
    overlaid = _Below("overlaid.json")
    """The folders that were made in the code folder for this attempt's volumes."""
    masks = _Below("masks")
    handoff = _Below("handoff.md")
    """The hand-off document as this attempt's candidate would leave it."""

    def make(self, owner: Owner) -> None:
        """Make them from scratch; what a killed start left of this very attempt is replaced."""
        if self.root.exists():
            import shutil

            shutil.rmtree(self.root)
        self.root.mkdir(parents=True, mode=0o700)
        self.transcript.mkdir(mode=0o700)
        # The container's user reads its inbox through the mount, whoever owns it.
        self.inbox.mkdir(mode=0o755)
        for folder in (self.outbox, self.home):
            make_private_folder(folder, owner)


class RunFolder(Struct, frozen=True, kw_only=True):
    root: Path
    lock = _Below("lock")
    configuration = _Below("orchestrator.toml")
    """The repository's configuration file as it was when the run started; empty when there was none."""
    build_context = _Below("build-context")
    """The hash of what the run's image was built from; empty without a Dockerfile."""
    evidence = _Below("evidence")
    handoff = _Below("handoff.md")
    """The hand-off document, where it is not committed."""
    gates = _Below("gates")
    """Scratch folders of setup and gate containers; each is removed with its container."""

    def stored_plan(self, name: str) -> Path:
        """The plan's bytes by which the run goes; see `RunState.plan_stored`."""
        return self.root / name

    def attempt(self, escaped_task: str, number: int) -> AttemptFolders:
        return AttemptFolders(root=self.root / "attempts" / escaped_task / str(number))

    def ignored_before(self) -> frozenset[str]:
        """What git ignored before any attempt of the run: the user's, even if an agent edits `.gitignore`."""
        from orchestrator.workspace.tree import Baseline  # `status` does not pay for it

        baselines = (self.root / "attempts").glob("*/*/baseline.json")
        known = (Baseline.from_json(path.read_text("utf-8")).ignored for path in baselines)
        return frozenset[str]().union(*known)

    def setup_log(self, name: str) -> Path:
        """Everything that the commands of a setup container printed."""
        folder = self.root / "setup"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / f"{name}.log"

    def gate(self, name: str) -> Path:
        return self.gates / name
