#!/usr/bin/env bash
# Everything that the demo and the tests need: .venv, a container engine, the agent image. What is there is
# reused. With ENGINE_OPTIONAL=1 a machine that cannot have an engine is no error, except in CI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

scripts/venv.sh

if ! scripts/docker-engine.sh; then
    [ "${ENGINE_OPTIONAL:-}" = 1 ] && [ "${CI:-}" != true ] || exit 1
    say "No container engine can be had here: tests that need one are skipped."
    exit
fi

mkdir -p .cache
log=.cache/image-build.log
if ! docker image inspect "$IMAGE" >/dev/null 2>&1; then
    say "Building the agent image (some minutes; 'tail -f $log' shows how far it is) ..."
fi
scripts/build-image.sh "$IMAGE" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail 1 "the agent image could not be built." "All of the build's output is in $log."
}
