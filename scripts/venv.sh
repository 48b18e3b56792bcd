#!/usr/bin/env bash
# Makes .venv from requirements.lock, with a uv that comes from PyPI. Does nothing when it is up to date.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

# The first Python of at least 3.11 on PATH, as the path of the program itself (not of a version manager's shim).
find_python() {
    local name candidate
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        while IFS= read -r candidate; do
            "$candidate" -c 'import sys; sys.version_info < (3, 11) and sys.exit(1); print(sys.executable)' \
                2>/dev/null && return
        done < <(type -aP "$name")
    done
    fail 1 "no Python of version 3.11 or later on PATH." "Install one, for example: apt-get install python3"
}

# Debian splits ensurepip off its Python: python3 alone cannot install from PyPI there.
install_uv() {
    local python=$1
    rm -rf .cache/uv
    if ! "$python" -c 'import ensurepip' 2>/dev/null && ! "$python" -m pip --version >/dev/null 2>&1; then
        scripts/install-packages.sh "Python's venv" \
            "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    fi
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv .cache/uv
        pip_install .cache/uv/bin/python
    else
        pip_install "$python" --target .cache/uv
    fi
}

pip_install() {
    local python=$1
    shift
    "$python" -m pip install --quiet --disable-pip-version-check --no-input --only-binary :all: \
        --require-hashes -r scripts/bootstrap.lock "$@"
}

# The stamp contains the folder, because programs in .venv contain its path.
stamp=$({
    hash_of requirements.lock scripts/bootstrap.lock scripts/venv.sh pyproject.toml
    pwd
} | git hash-object --stdin)
if [ "$(cat .venv/setup.stamp 2>/dev/null)" = "$stamp" ] && .venv/bin/python -c '' 2>/dev/null; then exit; fi

trust_machine_certificates
python=$(find_python)
say "Making .venv with $python ..."
mkdir -p .cache
uv=.cache/uv/bin/uv
[ "$("$uv" --version 2>/dev/null | cut -d' ' -f2)" = "$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' scripts/bootstrap.lock)" ] ||
    install_uv "$python"

export UV_PYTHON_DOWNLOADS=never
"$uv" venv --quiet --clear --python "$python" .venv
"$uv" pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock
"$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
printf '%s\n' "$stamp" >.venv/setup.stamp
