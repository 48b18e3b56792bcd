#!/usr/bin/env bash
# Installs the program of this checkout for the user, so that only `orchestrator` is added to PATH: the other
# programs of its environment, such as python3, stay out of the way of the user's own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

scripts/venv.sh
trust_machine_certificates
export UV_PYTHON_DOWNLOADS=never
uv=.cache/uv/bin/uv
"$uv" tool install --quiet --force --reinstall-package ktrdr-orchestrator \
    --constraints requirements.lock --python .venv/bin/python .

folder=$("$uv" tool dir --bin)
say "Installed $folder/orchestrator."
case ":$PATH:" in
*":$folder:"*) ;;
*) say "Add its folder to your PATH: export PATH=\"$folder:\$PATH\"" ;;
esac
