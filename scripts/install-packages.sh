#!/usr/bin/env bash
# install-packages.sh PURPOSE PACKAGE...: installs Debian packages as root or by sudo.
# At a terminal it asks first, unless YES=1.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# -ge 2 ] || fail 2 "usage: install-packages.sh PURPOSE PACKAGE..."
purpose=$1
shift

command -v apt-get >/dev/null ||
    fail 1 "$purpose is missing, and there is no apt-get to install it." "Install by hand: $*"

if [ -t 0 ] && [ "${YES:-}" != 1 ]; then
    read -r -p "$purpose is missing. Install $* with apt-get? [y/N] " answer
    case $answer in
        y | Y | yes) ;;
        *) fail 1 "$purpose was not installed." "Install by hand: apt-get install $*" ;;
    esac
fi

as_root true 2>/dev/null ||
    fail 1 "$purpose is missing, and only root may install it." "As root, or with sudo: apt-get install $*"

apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >&2; }

say "Installing $* ($purpose) ..."
# A package source that does not answer matters only if the packages are not available without it.
apt update || say "apt-get update reported errors; trying to install all the same."
apt install -y --no-install-recommends "$@" ||
    fail 1 "$purpose could not be installed." "By hand: apt-get install $*"
