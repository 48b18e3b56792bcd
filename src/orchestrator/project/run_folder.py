"""Where a run keeps its files, in the state folder and out of the agent's reach."""

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from orchestrator.files import Owner, make_private_folder


class AttemptFolders(Struct, frozen=True, kw_only=True):
    """The folders of one attempt; those the container writes to belong to its user."""

    root: Path

    @property
    def inbox(self) -> Path:
        return self.root / "in"

    @property
    def outbox(self) -> Path:
        return self.root / "out"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def git(self) -> Path:
        return self.root / "git"

    @property
    def transcript(self) -> Path:
        return self.root / "transcript"

    @property
    def baseline(self) -> Path:
        return self.root / "baseline.json"

    @property
    def moved_away(self) -> Path:
        return self.root / "moved-away"

    @property
    def overlaid(self) -> Path:
        """The folders that were made in the code folder for this attempt's volumes."""
        return self.root / "overlaid.json"

    @property
    def masks(self) -> Path:
        return self.root / "masks"

    @property
    def handoff(self) -> Path:
        """The hand-off document as this attempt's candidate would leave it."""
        return self.root / "handoff.md"

    def make(self, owner: Owner) -> None:
        """Make them anew; what a killed start left of this very attempt is replaced."""
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

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    def stored_plan(self, name: str) -> Path:
        """The plan's bytes by which the run goes; see `RunState.plan_stored`."""
        return self.root / name

    @property
    def configuration(self) -> Path:
        """The repository's configuration file as it was when the run started; empty when there was none."""
        return self.root / "orchestrator.toml"

    @property
    def build_context(self) -> Path:
        """The hash of what the run's image was built from; empty without a Dockerfile."""
        return self.root / "build-context"

    @property
    def evidence(self) -> Path:
        return self.root / "evidence"

    @property
    def handoff(self) -> Path:
        """The hand-off document, where it is not committed."""
        return self.root / "handoff.md"

    def attempt(self, escaped_task: str, number: int) -> AttemptFolders:
        return AttemptFolders(root=self.root / "attempts" / escaped_task / str(number))

    def baselines(self) -> Iterator[Path]:
        """What was in the code folder before each attempt, of all attempts so far."""
        return (self.root / "attempts").glob("*/*/baseline.json")

    def setup_log(self, name: str) -> Path:
        """Everything that the commands of a setup container printed."""
        folder = self.root / "setup"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / f"{name}.log"

    @property
    def gates(self) -> Path:
        """Scratch folders of setup and gate containers; each is removed with its container."""
        return self.root / "gates"

    def gate(self, name: str) -> Path:
        return self.gates / name
