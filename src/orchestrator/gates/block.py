"""How a shell block is run: bash stops at the first command that fails, in a pipe as well.

Bash has two rules for the exit code of a pipe, and neither is right for a check. By default only the last
command counts, so that `pytest | tail -5` always passes. With `pipefail` a command that writes to a reader
which has read enough (`| grep -q`, `| head -1`) ends with 141, the code of SIGPIPE, and a block fails though
all is well.

So the block runs without `pipefail`, and a trap checks the commands of each pipe once the pipe has ended: one
that failed with another code than 141 ends the block with its code. `set -o pipefail` in a block changes
nothing, because the trap does what it asks for; after `set +e` nothing is checked. The trap cannot see a pipe
inside `$(…)`: there the last command counts.
"""

# The trap runs before each simple command and at the end of functions and subshells, with the codes of the
# pipe before. `exit $?` is the simple command after the last pipe. It is inside the `eval`, which replaces
# the codes by its own, and after two line ends, because the first one may be escaped.
BLOCK = r"""
__check_pipe() {
  set +o pipefail
  if [[ $BASH_SUBSHELL != "$__level" ]]; then
    __level=$BASH_SUBSHELL
    trap '__check_pipe "${PIPESTATUS[@]}"' EXIT
  fi
  [[ $- == *e* && ${*: -1} == 0 ]] || return 0
  local code
  for code; do
    case $code in 0 | 141) ;; *)
      echo "a command of the pipe exited with $code" >&2
      exit "$code" ;;
    esac
  done
}
__level=0
set -eT
trap '__check_pipe "${PIPESTATUS[@]}"' DEBUG RETURN
__block=$1
shift
eval "$__block"$'\n\nexit $?'
"""
"""A script for `bash -c`; its argument is the block."""
