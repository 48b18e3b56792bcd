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

# An image of this recipe is good, whatever certificates or proxies it was built with.
image_is_current() {
    local recipe=deploy/docker/coding-agent inside=/usr/local/share/ktrdr-coding-agent
    docker image inspect "$IMAGE" >/dev/null 2>&1 &&
        docker run --rm --network none "$IMAGE" cat "$inside/Dockerfile" "$inside/fetch.lock" 2>/dev/null |
        cmp -s - <(cat "$recipe/Dockerfile" "$recipe/fetch.lock")
}

if image_is_current; then exit; fi
mkdir -p .cache
log=.cache/image-build.log
say "Building the agent image (some minutes; 'tail -f $log' shows how far it is) ..."
scripts/build-image.sh "$IMAGE" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail 1 "the agent image could not be built." "All of the build's output is in $log."
}
