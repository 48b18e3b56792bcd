#!/usr/bin/env bash
# coding-agent-shell.sh [CONTAINER]: opens a shell in a running coding agent container.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/lib.sh"

container=${1:-ktrdr-coding-agent}

command -v docker >/dev/null || fail 1 "the docker command is missing." "Install it, then run scripts/coding-agent-init.sh."
engine_answers || fail 1 "Docker's daemon does not answer." "Start it, and run 'docker version' to see the error."

if [ "$(docker container inspect --format '{{.State.Running}}' "$container" 2>/dev/null)" != true ]; then
    fail 1 "the container $container is not running." \
        "The orchestrator starts a container for each attempt at a task and removes it afterwards;" \
        "'docker ps --filter label=ktrdr.kind' lists those of a run. To start one by hand:" \
        "" \
        "  docker run -d --name $container \\" \
        "    -v /path/to/code:/workspace \\" \
        "    --add-host=host.docker.internal:host-gateway \\" \
        "    $IMAGE" \
        "" \
        "Without the image, build it first: scripts/coding-agent-init.sh"
fi

terminal=()
if [ -t 0 ]; then terminal=(-t); fi
exec docker exec -i "${terminal[@]+"${terminal[@]}"}" "$container" bash
