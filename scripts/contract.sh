#!/usr/bin/env bash
# contract.sh [VERSION]: runs the contract tests of the driver with the CLI of the agent image, or with that of
# another published version, in an image of its own that is removed afterwards.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

export CONTRACT=1
version=${1:-}
if [ -n "$version" ]; then
    case $version in
        *[!A-Za-z0-9.-]*) fail 2 "$version is not a version." "Give one that npm knows, such as 2.1.332 or latest." ;;
    esac
    export CLI=$version AGENT_IMAGE=ktrdr-contract:$version
    mkdir -p .cache
    log=.cache/contract-image.log
    say "Building an image with version $version ('tail -f $log' shows its progress) ..."
    CLAUDE_CODE_VERSION=$version scripts/build-image.sh "$AGENT_IMAGE" >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        fail 1 "the image with version $version could not be built." "All of the build's output is in $log."
    }
    trap 'docker image rm "$AGENT_IMAGE" >/dev/null' EXIT
fi
.venv/bin/python -m pytest tests/agents/test_claude_code_contract.py
