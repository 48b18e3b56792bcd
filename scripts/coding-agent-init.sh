#!/usr/bin/env bash
# Prepares this machine for coding agent containers: checks Docker, makes the shared data folder, builds the
# image. It starts no container; the orchestrator does, for each task.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/lib.sh"

command -v docker >/dev/null ||
    fail 1 "the docker command is missing." "Install Docker Engine, or run 'make setup', which does it on Debian."
engine_answers ||
    fail 1 "Docker is installed, but its daemon does not answer." \
        "Start it ('systemctl start docker', Docker Desktop, or 'make setup'), and check that you may use it ('docker version')."

data=${HOME:?}/Documents/ktrdr-shared/data
mkdir -p "$data"
say "Shared data: $data"

"$here/build-image.sh" "$IMAGE"
say "The image $IMAGE is ready. 'orchestrator run PLAN' starts containers from it."
