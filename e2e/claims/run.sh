#!/bin/bash
# What issue 3 claims of metadata, objects and mounts, each against the peer on real mounts: run.sh [CLAIM...].
# Needs what `make tools` installs; servers are started on free loopback ports and ended.
set -u
here=$(dirname "$(realpath "$0")")
cache=${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e}
export JUICEFS=${JUICEFS:-${CARGO_TARGET_DIR:-$HOME/.cache/juicefs-target}/e2e/juicefs} PEER=$cache/venv/bin/juicefs
export WEED=$cache/venv/bin/weed AUDIT=${AUDIT:-cargo xtask audit}
[ -x "$JUICEFS" ] || { echo "no binary at $JUICEFS: run make binary"; exit 2; }
[ -x "$PEER" ] || { echo "no peer at $PEER: run make tools"; exit 2; }
cd "$here/../.." || exit 2
exec "$cache/venv/bin/python" "$here/claims.py" "$@"
