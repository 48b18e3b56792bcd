#!/usr/bin/env bash
# build-image.sh [NAME [BASE]]: builds the agent image. All ways to build it end here: the init script,
# `make setup` and `orchestrator image build`. Compose reads the same recipe.
# CLAUDE_CODE_VERSION in the environment replaces the version in the recipe.
# Status 3: no container engine to build with.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/lib.sh"

name=${1:-$IMAGE}
base=${2:-debian:bookworm-slim}
recipe=$here/../deploy/docker/coding-agent

command -v docker >/dev/null || fail 3 "the docker command is missing." "Install Docker Engine, or run 'make setup'."
engine_answers || fail 3 "no container engine answers: $(bounded 20 docker version 2>&1 >/dev/null | tail -n 1)" \
    "Start it, or run 'make setup'."

bash "$here/base-image.sh" "$base"

# A copy, so that the certificate authorities of the machine can be added with a fixed name and mode.
context=$(mktemp -d)
trap 'rm -rf -- "$context"' EXIT
cp -R "$recipe/." "$context"
certificates=$(machine_certificates)
[ -z "$certificates" ] || cp -L "$certificates" "$context/certificates/machine.crt"
chmod -R u=rwX,go=rX "$context"

# is_loopback ADDRESS: whether a proxy listens on this machine only; in a container its address is the container's own.
is_loopback() {
    local host
    host=$(printf '%s' "${1#*://}" | tr '[:upper:]' '[:lower:]')
    host=${host%%/*}
    case $host in
        "["*) host=${host#"["} host=${host%%"]"*} ;;
        *) host=${host%%:*} ;;
    esac
    case $host in
        localhost | *.localhost | localhost. | 127.*.*.* | 0.0.0.0 | ::1 | :: | ::ffff:127.*) true ;;
        *) false ;;
    esac
}

# Proxies are passed even if they are not set, as Compose does it, so that both share the cache of the engine.
arguments=(--build-arg "BASE=$base" --tag "$name")
[ -z "${CLAUDE_CODE_VERSION-}" ] || arguments+=(--build-arg "CLAUDE_CODE_VERSION=$CLAUDE_CODE_VERSION")
for variable in HTTP_PROXY http_proxy HTTPS_PROXY https_proxy NO_PROXY no_proxy; do
    case ${!variable-} in
        *@*)
            say "$variable holds a password; it is not passed into the build, whose images could keep it."
            unset "$variable"
            ;;
        *)
            if [[ $variable != [Nn][Oo]_* ]] && is_loopback "${!variable-}"; then
                say "$variable is a loopback address, which in a container is the container itself; it is not passed into the build."
                unset "$variable"
            fi
            ;;
    esac
    arguments+=(--build-arg "$variable=${!variable-}")
done

docker build --force-rm "${arguments[@]}" "$context"
