#!/usr/bin/env bash
# Makes sure that a container engine answers: reuses it, else starts it, else installs it from the
# distribution's packages (at a terminal it asks first, unless YES=1).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh
PATH=$PATH:/usr/sbin:/sbin

# The user has to start an engine that was chosen with DOCKER_HOST or a context.
refuse_to_replace_a_chosen_engine() {
    local chosen=${DOCKER_HOST:-}
    [ -n "$chosen" ] || chosen=$(docker context inspect --format '{{.Name}}' 2>/dev/null || true)
    case $chosen in
        '' | default) ;;
        *) fail 1 "the chosen engine $chosen does not answer: $words" "Start it, or unset DOCKER_HOST or the context." ;;
    esac
}

refuse_without_permission() {
    case $words in
        *"permission denied"*)
            fail 1 "you may not use Docker: $words" "Run 'sudo usermod -aG docker $(id -un)' and log in again." ;;
    esac
}

start_engine() {
    say "Starting Docker Engine ..."
    if [ -d /run/systemd/system ]; then
        as_root systemctl start docker
    else
        start_by_hand
    fi || fail 1 "Docker Engine could not be started." "Start it as root: dockerd"
    for _ in {1..60}; do
        # A socket that we may not use still means that the engine is running.
        if engine_answers || docker version 2>&1 | grep -q 'permission denied'; then return; fi
        sleep 1
    done
    if [ -d /run/systemd/system ]; then
        fail 1 "Docker Engine did not become ready within a minute." "'journalctl -u docker' says why."
    fi
    tail -n 10 "$log" >&2
    fail 1 "Docker Engine did not become ready within a minute." "Its output is in $log."
}

# Without systemd (a container, a minimal machine). It must not keep one of our descriptors open, or a
# caller that reads our output to its end would wait for the engine to end.
start_by_hand() {
    mkdir -p .cache
    remove_stale_pid_file /run/docker.pid dockerd
    remove_stale_pid_file /run/docker/containerd/containerd.pid containerd
    # shellcheck disable=SC2016 # the inner shell expands it
    as_root sh -c 'setsid dockerd >>"$1" 2>&1 </dev/null 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &' sh "$log"
}

# remove_stale_pid_file FILE PROGRAM: a killed engine leaves its file behind, and a new one does not start while
# another process (or the old one as a zombie, without a command line) has that number.
remove_stale_pid_file() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q "$2" || as_root rm -f "$1"
}

log=$PWD/.cache/dockerd.log

if engine_answers; then exit; fi
words=$(bounded 20 docker version 2>&1 >/dev/null | tail -n 1) || true
refuse_to_replace_a_chosen_engine
refuse_without_permission
[ "$(uname -s)" = Linux ] || fail 1 "no container engine answers: $words" "Start Docker Desktop and try again."

command -v dockerd >/dev/null || scripts/install-packages.sh "Docker Engine" docker.io
engine_answers || start_engine
words=$(bounded 20 docker version 2>&1 >/dev/null | tail -n 1) || true
refuse_without_permission
engine_answers || fail 1 "no container engine answers: $words"
