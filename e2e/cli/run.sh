#!/bin/bash
# e2e/cli/run.sh: our command line against the peer's (cli.py). Needs JUICEFS (our binary) and the peer of `make tools`.
set -u
here=$(dirname "$(realpath "$0")")
cache=${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e}
export JUICEFS=${JUICEFS:-${CARGO_TARGET_DIR:-$HOME/.cache/juicefs-target}/e2e/juicefs} PEER=$cache/venv/bin/juicefs
export WEED=$cache/venv/bin/weed
[ -x "$JUICEFS" ] || { echo "no binary at $JUICEFS: run make binary"; exit 2; }
[ -x "$PEER" ] || { echo "no peer at $PEER: run make tools"; exit 2; }
exec python3 "$here/cli.py"
