#!/usr/bin/env bash
# Style, types, the import contract, and the shell scripts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/lint-imports
if command -v shellcheck >/dev/null; then
    shellcheck -x scripts/*.sh .ci/run
elif [ "${CI:-}" = true ]; then
    fail 1 "shellcheck is missing." "apt-get install shellcheck"
else
    say "shellcheck is not installed: the scripts were not checked."
fi
