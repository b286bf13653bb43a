#!/bin/bash
# `make demo-kubernetes`, on the cluster that is there: what it shows works, and what it tells to try works too.
. "$(dirname "$0")/lib.sh"
finish() {
    local status=$?
    end "$status"
    NS=demo clear_namespace
}
trap finish EXIT
begin

step "the demo"
"$REPOSITORY/e2e/demo-kubernetes.sh" >"$WORK/demo" 2>&1 || { tail -n 20 "$WORK/demo" >&2; fail "the demo"; }
expect_in "what the demo ends with" "try:" "$(cat "$WORK/demo")"

step "what it tells to try"
NS=demo
expect_in "what describe shows" FormatJobCreated "$(k describe filesystem data)"
k exec writer -- bash -c 'ls /data/big' >/dev/null
k delete pod writer reader --timeout=60s >/dev/null
none() { [ -z "$(mount_pods)" ]; }
until_true 60 "no mount pod is left" none
k delete pvc work --timeout=60s >/dev/null
