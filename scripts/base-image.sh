#!/usr/bin/env bash
# base-image.sh [IMAGE]: makes sure that the base of the agent image exists. It is reused, else pulled,
# else, because a registry may be out of reach, built from Debian's packages.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/lib.sh"

base=${1:-debian:bookworm-slim}

if docker image inspect "$base" >/dev/null 2>&1; then exit; fi

say "Pulling $base ..."
if words=$(bounded 120 docker pull --quiet "$base" 2>&1); then exit; fi
say "It cannot be pulled: ${words:-no answer within two minutes}"

case $base in
    debian:*-slim) suite=${base#debian:} suite=${suite%-slim} ;;
    *) fail 1 "$base cannot be pulled." "Only debian:RELEASE-slim can be made here; choose another base or 'docker load' this one." ;;
esac
[ "$(uname -s)" = Linux ] || fail 1 "$base can be made from Debian's packages only on Linux."

PATH=$PATH:/usr/sbin:/sbin
command -v debootstrap >/dev/null ||
    bash "$here/install-packages.sh" "debootstrap, which makes the base image," debootstrap debian-archive-keyring

say "Making $base from Debian's packages (about a minute) ..."
folder=$(mktemp -d)
trap 'as_root rm -rf -- "$folder"' EXIT
as_root debootstrap --variant=minbase "$suite" "$folder/root" >"$folder/log" 2>&1 || {
    tail -n 5 "$folder/log" >&2
    fail 1 "debootstrap could not make $base."
}
as_root tar -C "$folder/root" --exclude='./var/cache/apt/archives/*.deb' --exclude='./var/lib/apt/lists/*_*' -c . |
    docker import - "$base" >/dev/null
say "Made $base."
