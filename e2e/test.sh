#!/bin/bash
# e2e/test.sh check|all|rest: stages, each timed, ending in "N passed, N failed". `check` is what a commit must pass,
# `all` what CI runs, `rest` what is written and not part of CI yet (docs/roadmap.md says why).
# A stage that fails does not stop the next ones; its last lines and the whole log's place are shown.
set -u
cd "$(dirname "$0")/.." || exit 2
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/juicefs-target}
export JUICEFS_E2E_CACHE=${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e}
export JUICEFS=$CARGO_TARGET_DIR/e2e/juicefs RUST_BACKTRACE=0
logs=${LOGS:-$(mktemp -d /tmp/juicefs-test.XXXXXX)}
mkdir -p "$logs"
passed=0 failed=0 begun=$SECONDS

stage() { # NAME SECONDS_MAX COMMAND...
    local name=$1 limit=$2 at=$SECONDS
    shift 2
    if timeout --foreground -k 30 "$limit" "$@" >"$logs/$name.log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        printf 'ok    %-14s %4ds  %s\n' "$name" $((SECONDS - at)) "$(tail -n 1 "$logs/$name.log" | cut -c1-120)"
    else
        failed=$((failed + 1))
        printf 'FAIL  %-14s %4ds  %s\n' "$name" $((SECONDS - at)) "$logs/$name.log"
        tail -n 60 "$logs/$name.log" | sed 's/^/      | /'
    fi
}
unit() { # the examples first: tests of daemons run one of them
    stage unit 2400 bash -c 'cargo build --workspace --examples --quiet && cargo test --workspace --lib --bins --tests --quiet --no-fail-fast'
}
house() { # form, lints, the rules of the house, and whether generated files are what their generators write
    stage format 120 cargo fmt --all --check
    stage clippy 900 cargo clippy --workspace --all-targets --quiet -- -D warnings
    stage tidy 600 bash -c 'cargo xtask generate --check && cargo xtask tidy'
}
kubernetes() {
    # Cold, the parts of a Kubernetes are built from Go modules: most of the time.
    stage cluster 1800 e2e/cluster/build.sh
    stage rendered 60 deploy/render.sh --check
    stage kubernetes 1200 e2e/run.sh
}
binary() { stage binary 1800 cargo build --profile e2e --bin juicefs; }

case ${1:-all} in
check)
    stage tools 900 e2e/tools/install.sh
    house
    unit
    ;;
all)
    stage tools 1800 e2e/tools/install.sh suites
    house
    unit
    binary
    stage linked 60 e2e/linked.sh "$JUICEFS"
    stage cli 300 e2e/cli/run.sh
    stage bad-input 300 e2e/bad-input.sh
    stage demo 300 e2e/demo.sh "$JUICEFS"
    stage suites 1200 e2e/suites.sh
    stage faults 900 e2e/faults.sh
    stage peer 1200 e2e/peer/run.sh
    stage claims 1200 e2e/claims/run.sh
    kubernetes
    ;;
rest)
    stage tools 900 e2e/tools/install.sh
    binary
    stage peer-control 900 e2e/peer/run.sh control
    ;;
*) echo "usage: e2e/test.sh check|all|rest" && exit 2 ;;
esac
echo "logs in $logs, $((SECONDS - begun)) s"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
