"""The purpose of each command, two examples of it, and its exit codes.

Together with the arguments that the commands declare, and the summaries in `cli/main.py`, this is the only
description of the command line: `--help`, `docs/commands.md`, the man page and completion are made from it.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Example(NamedTuple):
    command: str
    """As a user types it. It parses; a test runs it where it needs no run."""
    does: str


class Description(NamedTuple):
    text: str
    """A paragraph."""
    examples: tuple[Example, Example]
    exits: Mapping[int, str]
    """The exit codes of this command; every command also has those in `ALWAYS`."""


_MISUSE: Final = "wrong usage, configuration or plan, or something was not found"
_BUG: Final = "a bug in the orchestrator; the report can be pasted"
_INTERRUPTED: Final = "stopped by ^C or a signal, or cancelled"
ALWAYS: Final[Mapping[int, str]] = {0: "done", 2: _MISUSE, 70: _BUG, 130: _INTERRUPTED}
_RUN_EXITS: Final[Mapping[int, str]] = {
    0: "completed",
    1: "a task or the end-to-end scenario has failed",
    3: "a question waits for your answer",
    4: "parked: a limit, an outage or a full disk; `resume` continues",
}

DESCRIPTIONS: Final[Mapping[str, Description]] = {
    "init": Description(
        "Looks for the test command, the packages and the secrets of this repository, asks three "
        "questions at a terminal, and writes orchestrator.toml. Nothing is overwritten and nothing is "
        "committed.",
        (
            Example("orchestrator init", "asks before it writes"),
            Example("orchestrator init --yes", "writes what it finds, without a question"),
        ),
        {},
    ),
    "doctor": Description(
        "Makes the checks that a run makes before it starts. Each problem comes with the command that "
        "repairs it; --fix makes the repairs that change none of your files. Below are the settings in "
        "force and where each of them comes from.",
        (
            Example("orchestrator doctor", "makes all checks"),
            Example("orchestrator doctor --check engine --json", "makes one check, for a program"),
        ),
        {1: "a check has failed"},
    ),
    "trust": Description(
        "Some settings of a repository's orchestrator.toml run commands on your machine, mount your "
        "folders, or choose an image or a credential. They are in force once you have seen and "
        "approved exactly these values.",
        (
            Example("orchestrator trust", "shows the settings and asks"),
            Example("orchestrator trust --yes", "approves them without a question"),
        ),
        {1: "not approved"},
    ),
    "image build": Description(
        "Builds the image that attempts and gates start from. A build takes some minutes and needs a "
        "network; unchanged steps come from the engine's cache.",
        (
            Example("orchestrator image build", "builds on debian:bookworm-slim"),
            Example("orchestrator image build --base debian:trixie-slim", "builds on another base"),
        ),
        {1: "the image could not be built"},
    ),
    "demo": Description(
        "Makes a scratch repository in your cache folder, carries out a small plan there with the real agent "
        "in real containers, and prints where the result is. The model's answers come from a file, so no key "
        "is needed. Your own settings play no part.",
        (
            Example("orchestrator demo", "needs no key"),
            Example("orchestrator demo --live", "uses the real model and costs a few cents"),
        ),
        _RUN_EXITS,
    ),
    "plan show": Description(
        "Prints the tasks of a plan in the order in which a run carries them out, each with its "
        "checks, and what is wrong with the plan. Nothing is run.",
        (
            Example("orchestrator plan show plan.md", "prints the tasks"),
            Example("orchestrator plan show plan.md --json", "prints them for a program"),
        ),
        {2: "the plan has errors, or cannot be read"},
    ),
    "plan check": Description(
        "Reports errors and warnings of plans, one a line, with file, line and what to do. A run "
        "refuses a plan with errors.",
        (
            Example("orchestrator plan check plan.md", "checks one plan"),
            Example("orchestrator plan check plan.md --strict", "lets warnings count as errors"),
        ),
        {2: "a plan has errors, or cannot be read"},
    ),
    "plan new": Description(
        "Writes a plan with two tasks and placeholders, which uses the test command of the project if "
        "it has one. An existing file is not overwritten. With --prompt it prints a page that teaches a "
        "coding agent to write plans; saved as SKILL.md, the page is a skill.",
        (
            Example("orchestrator plan new 'Add a greeting'", "writes add-a-greeting.md"),
            Example("orchestrator plan new --prompt", "prints the instructions for a coding agent"),
        ),
        {},
    ),
    "run": Description(
        "Carries out the tasks of a plan one after the other, each by an agent in a container, and "
        "commits a task once its checks pass. If the plan has an unfinished run, that run is "
        "continued.",
        (
            Example("orchestrator run plan.md", "carries out the whole plan"),
            Example("orchestrator run plan.md --base", "only shows what the checks say before any work"),
        ),
        _RUN_EXITS,
    ),
    "task": Description(
        "Carries out one task of a plan as a run of its own. The tasks that it depends on have to be done.",
        (
            Example("orchestrator task plan.md 1.2", "carries out task 1.2"),
            Example(
                "orchestrator task plan.md 1.2 --agent nop", "shows whether its checks fail without work"
            ),
        ),
        _RUN_EXITS,
    ),
    "resume": Description(
        "Continues a run that has failed, was stopped, is parked, or waits for an answer. Finished "
        "tasks are not repeated, and a failed task that you have repaired by hand needs no agent.",
        (
            Example("orchestrator resume", "continues the only unfinished run of this repository"),
            Example("orchestrator resume plan.md -g 'Keep the old API.'", "gives the agent an instruction"),
        ),
        _RUN_EXITS,
    ),
    "answer": Description(
        "Stores your answer to a question of an agent. A run that waits for it, or works on other "
        "tasks, takes it in at once; any other run is continued by `resume`.",
        (
            Example("orchestrator answer plan.md --recommended", "takes the agent's recommendation"),
            Example("orchestrator answer plan.md 'Use SQLite.'", "answers in your own words"),
        ),
        {},
    ),
    "status": Description(
        "Without an argument, lists the runs of this repository and names the next command for the run that "
        "needs you; with one, shows the tasks of that run, its attempts and its questions.",
        (
            Example("orchestrator status", "lists the runs"),
            Example("orchestrator status plan.md", "shows the latest run of a plan"),
        ),
        {},
    ),
    "history": Description(
        "Lists the runs of this repository, newest first, with their status, and names the next command for "
        "the run that needs you.",
        (
            Example("orchestrator history", "lists all runs"),
            Example("orchestrator history --name greeting --limit 5", "lists five runs at most"),
        ),
        {},
    ),
    "watch": Description(
        "Shows from another terminal what happens in a run, until it has ended. ^C stops watching, "
        "not the run.",
        (
            Example("orchestrator watch plan.md", "follows the latest run of a plan"),
            Example("orchestrator watch plan.md --json", "prints every event, for a program"),
        ),
        {0: "the run has ended; with --exit-status its exit code instead"},
    ),
    "report": Description(
        "Reports what a run has done, task by task: each check with its result and its evidence, and first "
        "of all what a reviewer should check. For a terminal, a browser, or a pull request.",
        (
            Example("orchestrator report plan.md", "reports on the latest run of a plan"),
            Example("orchestrator report plan.md --md", "writes Markdown for a pull request"),
        ),
        {},
    ),
    "logs": Description(
        "Prints what the agent of a run has printed, one line for each thing that it said or did. "
        "With --evidence it prints the whole output of a gate.",
        (
            Example("orchestrator logs plan.md --task 1.2", "prints the attempts at one task"),
            Example("orchestrator logs plan.md --follow", "keeps printing until the run has ended"),
        ),
        {},
    ),
    "shell": Description(
        "Starts a container like that of an attempt, with this repository at /workspace, and opens a "
        "shell in it. The container is removed when the shell ends.",
        (
            Example("orchestrator shell", "opens a shell"),
            Example("orchestrator shell make test", "runs one command"),
        ),
        {},
    ),
    "service": Description(
        "Prints a unit of systemd for your user. When the machine has started, it resumes the runs that were "
        "at work or waited when the machine stopped. It needs a credential from a command, a file or the "
        "keyring.",
        (
            Example("orchestrator service --write", "writes the unit, and says how to turn it on"),
            Example("orchestrator service --list", "lists the runs that it would resume now"),
        ),
        {
            1: "with --resume: a task or the end-to-end scenario of a run has failed",
            3: "with --resume: a question waits for your answer",
            4: "with --resume: a run is parked",
        },
    ),
    "undo": Description(
        "Takes the commit of a task and all later commits of its run off the branch, lists the files "
        "that change, and prints how to get them back. The task counts as not done.",
        (
            Example("orchestrator undo plan.md 1.2", "undoes task 1.2 and the tasks after it"),
            Example("orchestrator undo greeting-3f2a 2.1", "does so for a run by its id"),
        ),
        {},
    ),
    "abandon": Description(
        "Takes all commits of a run off the branch, returns the folder to the state before the run, "
        "cancels the run, and prints how to get everything back.",
        (
            Example("orchestrator abandon plan.md", "abandons the latest run of a plan"),
            Example("orchestrator abandon greeting-3f2a", "abandons a run by its id"),
        ),
        {},
    ),
    "cancel": Description(
        "Stops a run for good. Its commits stay on the branch. A run that is carried out in another "
        "terminal is asked to stop.",
        (
            Example("orchestrator cancel plan.md", "cancels the latest run of a plan"),
            Example("orchestrator cancel greeting-3f2a", "cancels a run by its id"),
        ),
        {},
    ),
    "clean": Description(
        "Removes containers that no run needs any more and compresses the output of finished runs, which "
        "`logs` shows as before. With --older-than, also removes images and the stored data of old runs. "
        "Your commits are never touched.",
        (
            Example("orchestrator clean --dry-run", "only prints what would be removed"),
            Example("orchestrator clean --older-than 30d", "also removes runs that ended a month ago"),
        ),
        {},
    ),
    "completion": Description(
        "Prints a script for bash, zsh or fish that completes commands, options, plans, runs, tasks "
        "and settings. Source it from the file that your shell reads when it starts.",
        (
            Example("orchestrator completion bash", "for ~/.bashrc: source <(orchestrator completion bash)"),
            Example("orchestrator completion fish", "for ~/.config/fish/completions/orchestrator.fish"),
        ),
        {},
    ),
    "help": Description(
        "Prints the help of a command, or without one the list of all commands. It is the same text "
        "as that of --help.",
        (
            Example("orchestrator help", "lists the commands"),
            Example("orchestrator help plan check", "explains one command"),
        ),
        {},
    ),
}
"""By the name of a command, in the order of the help."""


def exits_of(description: Description) -> Mapping[int, str]:
    """Every exit code of a command, in ascending order."""
    return dict(sorted({**ALWAYS, **description.exits}.items()))


def describe(name: str) -> tuple[str, str] | None:
    """The paragraph of a command's help, and the part below its options; None for a group of commands."""
    found = DESCRIPTIONS.get(name)
    if found is None:
        return None
    examples = [f"  {example.command}\n      {example.does}" for example in found.examples]
    exits = [f"  {code:<4} {meaning}" for code, meaning in exits_of(found).items()]
    return found.text, "\n".join(["examples:", *examples, "", "exit codes:", *exits])
