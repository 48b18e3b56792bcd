"""`completion`: a script that completes commands, options and ids in a shell.

shtab writes it from the parsers, so that no option needs a start of Python; ids come from `_complete`.
"""

import argparse
import shlex
from collections.abc import Callable, Iterable, Mapping

from orchestrator.cli.main import PROGRAM, parser

SHELLS = ("bash", "zsh", "fish")

_BY_METAVAR: Mapping[str, str] = {
    "RUN": "runs",
    "RUN|PLAN": "runs_or_plans",
    "PLAN": "plan_files",
    "TASK": "tasks",
    "ID": "tasks",
    "KEY=VALUE": "settings",
    "FILE": "any_file",
}
"""The function that completes an argument, by the name of its value."""
_BY_DEST: Mapping[str, str] = {"check": "checks", "agent": "agents"}
_NO_ID = frozenset({"question", "evidence"})
"""Arguments whose ID is not that of a task."""

_BASH = r"""
_ktrdr_ids() {
  local value text
  while IFS=$'\t' read -r value text; do
    [[ $value == "$2"* ]] && printf '%s\n' "$value"
  done < <(orchestrator _complete "$1" "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)
}
_ktrdr_runs() { _ktrdr_ids runs "$1"; }
_ktrdr_tasks() { _ktrdr_ids tasks "$1"; }
_ktrdr_plan_files() { compgen -f -X '!*.md' -- "$1"; compgen -d -- "$1"; }
_ktrdr_any_file() { compgen -f -- "$1"; }
_ktrdr_runs_or_plans() { _ktrdr_runs "$1"; _ktrdr_plan_files "$1"; }
"""
_ZSH = r"""
_ktrdr_ids() {
  local -a found
  local value text
  while IFS=$'\t' read -r value text; do
    found+=("${value//:/\\:}:$text")
  done < <(orchestrator _complete $1 "${(@)words[2,CURRENT-1]}" 2>/dev/null)
  _describe -V $1 found
}
_ktrdr_runs() { _ktrdr_ids runs }
_ktrdr_tasks() { _ktrdr_ids tasks }
_ktrdr_plan_files() { _files -g '*.md' }
_ktrdr_any_file() { _files }
_ktrdr_runs_or_plans() { _ktrdr_ids runs; _ktrdr_plan_files }
"""
_FISH = r"""
function _ktrdr_ids
  set -l words (commandline -opc)
  orchestrator _complete $argv[1] $words[2..-1] 2>/dev/null
end
function _ktrdr_runs; _ktrdr_ids runs; end
function _ktrdr_tasks; _ktrdr_ids tasks; end
function _ktrdr_plan_files; __fish_complete_suffix .md; end
function _ktrdr_any_file; __fish_complete_path (commandline -ct); end
function _ktrdr_runs_or_plans; _ktrdr_runs; _ktrdr_plan_files; end
"""


def add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    parser.set_defaults(handler=print_script)


def print_script(arguments: argparse.Namespace) -> int:
    print(render_script(arguments.shell))
    return 0


def render_script(shell: str) -> str:
    """The script to source. Raises ImportError where shtab is not installed."""
    import shtab

    whole = parser(whole=True)
    for command in _list_parsers(whole):
        for action in command._actions:
            if (kind := _kind_of(action)) is not None:
                action.complete = {  # type: ignore[attr-defined]
                    "bash": f"_ktrdr_{kind}",
                    "zsh": f"_ktrdr_{kind}",
                    "fish": f"(_ktrdr_{kind})",
                }
    functions = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell] + _static_functions(shell)
    script = str(shtab.complete(whole, shell, preamble=functions))
    if shell == "bash":
        # The newest run comes first. A bash before 4.4 does not know the option and sorts.
        script += f"\ncomplete -o nosort -F _shtab_{PROGRAM} {PROGRAM} 2>/dev/null || :"
    if shell == "zsh":
        # shtab's script registers itself when it is evaluated; so that it can be sourced, too.
        script = script.replace("$zsh_eval_context[-1] == eval", "$zsh_eval_context[-1] == (eval|file)")
    return script


def _list_parsers(top: argparse.ArgumentParser) -> Iterable[argparse.ArgumentParser]:
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _list_parsers(command)


def _kind_of(action: argparse.Action) -> str | None:
    if action.choices or action.nargs == 0 or action.dest in _NO_ID:
        return None
    return _BY_DEST.get(action.dest) or _BY_METAVAR.get(str(action.metavar))


def _static_functions(shell: str) -> str:
    """Functions that offer what is known when the script is written."""
    from orchestrator.agents.registry import KNOWN
    from orchestrator.config.settings import TABLE
    from orchestrator.preflight.checks import CHECKS

    words = {
        "settings": [f"{key}=" for key in TABLE],
        "checks": [*CHECKS],
        "agents": [*KNOWN],
    }
    write = _WRITERS[shell]
    return "".join(write(f"_ktrdr_{kind}", listed) for kind, listed in words.items())


def _write_bash(name: str, words: Iterable[str]) -> str:
    return f'{name}() {{ compgen -W {shlex.quote(" ".join(words))} -- "$1"; }}\n'


def _write_zsh(name: str, words: Iterable[str]) -> str:
    return f"{name}() {{ compadd -S '' -- {shlex.join(words)} }}\n"


def _write_fish(name: str, words: Iterable[str]) -> str:
    return f"function {name}; printf '%s\\n' {shlex.join(words)}; end\n"


_WRITERS: Mapping[str, Callable[[str, Iterable[str]], str]] = {
    "bash": _write_bash,
    "zsh": _write_zsh,
    "fish": _write_fish,
}
