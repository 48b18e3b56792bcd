#!/usr/bin/env bash
# Installs what the demo and the tests need: .venv, a container engine, the agent image. Existing parts are
# reused. With ENGINE_OPTIONAL=1 a machine without an engine is accepted, except in CI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

scripts/venv.sh

if ! scripts/docker-engine.sh; then
    [ "${ENGINE_OPTIONAL:-}" = 1 ] && [ "${CI:-}" != true ] || exit 1
    say "No container engine is available: tests that need one are skipped."
    exit
fi

# An image of this recipe is current, even if it was built with other certificates or proxies.
image_is_current() {
    local recipe=deploy/docker/coding-agent inside=/usr/local/share/ktrdr-coding-agent
    docker image inspect "$IMAGE" >/dev/null 2>&1 &&
        docker run --rm --network none "$IMAGE" cat "$inside/Dockerfile" "$inside/fetch.lock" 2>/dev/null |
        cmp -s - <(cat "$recipe/Dockerfile" "$recipe/fetch.lock")
}

if image_is_current; then exit; fi
mkdir -p .cache
log=.cache/image-build.log
say "Building the agent image (some minutes; 'tail -f $log' shows its progress) ..."
scripts/build-image.sh "$IMAGE" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail 1 "the agent image could not be built." "All of the build's output is in $log."
}
