# Sourced by the scripts beside it. Works with the bash 3.2 of macOS.
# shellcheck shell=bash

# shellcheck disable=SC2034 # used by the scripts
IMAGE=ktrdr-coding-agent:latest

say() { printf '%s\n' "$*" >&2; }

# fail STATUS MESSAGE [NEXT STEP...]
fail() {
    local status=$1
    shift
    say "Error: $1"
    shift
    [ $# -eq 0 ] || printf '%s\n' "$@" >&2
    exit "$status"
}

# bounded SECONDS COMMAND...: macOS has no timeout command; there the command runs unbounded.
bounded() {
    local seconds=$1
    shift
    if command -v timeout >/dev/null; then timeout "$seconds" "$@"; else "$@"; fi
}

# The certificate authorities this machine trusts, as one file; prints nothing when there is none.
machine_certificates() {
    local file
    for file in "${SSL_CERT_FILE:-}" "${REQUESTS_CA_BUNDLE:-}" \
        /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
        if [ -n "$file" ] && [ -r "$file" ]; then
            printf '%s\n' "$file"
            return
        fi
    done
}

# pip and uv have their own authorities, without those of a company network.
trust_machine_certificates() {
    local file
    file=$(machine_certificates)
    [ -n "$file" ] || return 0
    export SSL_CERT_FILE="${SSL_CERT_FILE:-$file}" PIP_CERT="${PIP_CERT:-$file}"
}

engine_answers() { bounded 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# One hash of the contents of files. git is the only tool for it that is the same on all systems.
hash_of() { cat -- "$@" | git hash-object --stdin; }

# as_root COMMAND...: fails with status 3 when we are not root and sudo needs a password;
# at a terminal sudo may ask for it.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        sudo -- "$@"
    else
        return 3
    fi
}
