#!/usr/bin/env bash
# Runs examples/greeting in a scratch repository: with the scripted model, or with LIVE=1 and
# ANTHROPIC_API_KEY with the real one. Settings, credentials and addresses of the user's own play no part.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

example=$PWD/examples/greeting
orchestrator=$PWD/.venv/bin/orchestrator
options=(-c "gateway.scripted=$example/model.json")
if [ "${LIVE:-}" = 1 ]; then
    [ -n "${ANTHROPIC_API_KEY:-}" ] || fail 2 "LIVE=1 needs a key." "Set ANTHROPIC_API_KEY, or leave LIVE out for the scripted model."
    options=()
fi

# An empty folder of configuration, and no variable that sets or steers anything, except the key for LIVE=1.
key=${ANTHROPIC_API_KEY:-}
for name in $(compgen -e); do
    case $name in ORCHESTRATOR_* | ANTHROPIC_* | CLAUDE_*) unset "$name" ;; esac
done
if [ "${LIVE:-}" = 1 ]; then export ANTHROPIC_API_KEY=$key; fi
mkdir -p .cache/demo-configuration
export XDG_CONFIG_HOME=$PWD/.cache/demo-configuration

folder=$(mktemp -d "$PWD/.cache/demo-XXXXXX")
cp -R "$example/." "$folder"
rm "$folder/model.json"
git -C "$folder" init --quiet
git -C "$folder" symbolic-ref HEAD refs/heads/main
git -C "$folder" add --all
git -C "$folder" -c user.name=Demo -c user.email=demo@localhost -c commit.gpgSign=false -c core.hooksPath=/dev/null \
    commit --quiet --message "chore: start of the demo"

status=0
(cd "$folder" && "$orchestrator" run plan.md "${options[@]+"${options[@]}"}") || status=$?

printf '\nThe result is in %s\n' "$folder"
printf '  git -C %q log --stat main..\n' "$folder"
exit "$status"
