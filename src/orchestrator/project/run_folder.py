"""Where a run stores its files: in the state folder, which no container can write to."""

from pathlib import Path

from msgspec import Struct

from orchestrator.files import Owner, make_private_folder


class _Below:
    """The path with this name below the root of a folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: "AttemptFolders | RunFolder | TermsFolder", kind: type) -> Path:
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
    terms = _Below("terms.json")
    """The limits it was started with, and what the code folder held then; see `engine/attempt_terms.py`."""
    moved_away = _Below("moved-away")
    overlaid = _Below("overlaid.json")
    """The list of folders created in the code folder as mount points of this attempt's volumes."""
    masks = _Below("masks")
    configuration_before = _Below("configuration-before.toml")
    """The repository's configuration file when this attempt started; empty when there was none."""
    configuration_after = _Below("configuration-after.toml")
    """The same file when this attempt ended. It exists only if the attempt may have changed the file."""
    handoff = _Below("handoff.md")
    """The hand-off document that this attempt's candidate would produce."""

    def make(self, owner: Owner) -> None:
        """Create them from scratch; folders that a killed start of the same attempt left are replaced."""
        if self.root.exists():
            import shutil

            shutil.rmtree(self.root)
        self.root.mkdir(parents=True, mode=0o700)
        self.transcript.mkdir(mode=0o700)
        # The container's user reads the inbox through the mount and does not own it.
        self.inbox.mkdir(mode=0o755)
        for folder in (self.outbox, self.home):
            make_private_folder(folder, owner)


class TermsFolder(Struct, frozen=True, kw_only=True):
    """The settings and the image of a run, as they were at its start or when it took the user's new ones."""

    root: Path
    configuration = _Below("orchestrator.toml")
    """The repository's configuration file; empty when there was none."""
    settings = _Below("settings.json")
    """The settings of all sources, and the image; see `StoredTerms`."""
    build_context = _Below("build-context")
    """The hash of the files that the run's image was built from; empty without a Dockerfile."""


class RunFolder(Struct, frozen=True, kw_only=True):
    root: Path
    lock = _Below("lock")
    starting = _Below("starting")
    """Holds the path of the code folder; exists until the first fact of the run is stored."""
    output = _Below("output")
    """The output of a run that was started with `--detach`."""
    evidence = _Below("evidence")
    handoff = _Below("handoff.md")
    """The hand-off document of a project that does not commit it."""
    cleaned = _Below("cleaned")
    """The number of the run's last fact when `clean` removed what could restore the run's work."""
    gates = _Below("gates")
    """Scratch folders of setup and gate containers; each is removed with its container."""

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.root.parents[1]

    def plan_file(self, name: str) -> Path:
        """The run's own copy of its plan; see `RunState.plan_stored`."""
        return self.root / name

    def terms(self, name: str) -> TermsFolder:
        """The settings and the image by which the run goes; see `RunState.terms_stored`."""
        return TermsFolder(root=self.root / name if name else self.root)

    def attempt(self, escaped_task: str, number: int) -> AttemptFolders:
        return AttemptFolders(root=self.root / "attempts" / escaped_task / str(number))

    def list_paths_ignored_before(self) -> frozenset[str]:
        """Every path that git ignored before an attempt: the user's, even if an agent edits `.gitignore`."""
        from orchestrator.workspace.tree import Baseline  # slow to import, and `status` does not need it

        baselines = (self.root / "attempts").glob("*/*/baseline.json")
        known = (Baseline.from_json(path.read_text("utf-8")).ignored for path in baselines)
        return frozenset[str]().union(*known)

    def setup_log(self, name: str) -> Path:
        """The file with everything that the commands of a setup container printed."""
        folder = self.root / "setup"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / f"{name}.log"

    def gate(self, name: str) -> Path:
        return self.gates / name
