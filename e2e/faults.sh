#!/bin/bash
# e2e/faults.sh [CASE...]: what of a running mount goes away and comes back; nothing that was acknowledged may be lost.
here=$(dirname "$(realpath "$0")")
cache=${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e} target=${CARGO_TARGET_DIR:-$HOME/.cache/juicefs-target}
export JUICEFS=${JUICEFS:-$target/e2e/juicefs} WEED=$cache/venv/bin/weed AUDIT="$target/debug/xtask audit"
cd "$here/.." && cargo build --quiet --package xtask && exec "$cache/venv/bin/python" "$here/faults/faults.py" "$@"
