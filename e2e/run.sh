#!/bin/bash
# The end-to-end tests: a real Kubernetes on this machine, Redis and S3 in it, our image, our chart, and the cases.
#
# run.sh [--keep] [CASE...]     CASE: a script of cases/, by file or by number; default all
#
# --keep leaves the cluster up (e2e/cluster/down.sh takes it down). The image is $JUICEFS_E2E_IMAGE; if that is not set
# it is made of $JUICEFS (a binary), or else of a build. Without a chart only the cases of the cluster itself (0*) can run.
# What the cluster said is in $JUICEFS_E2E_REPORT (default target/e2e-report) when a case fails.

: "${JUICEFS_E2E_STATE:=/tmp/juicefs-e2e/run}"
export JUICEFS_E2E_STATE
. "$(dirname "$0")/cluster/lib.sh"

cases_dir=$REPOSITORY/e2e/cases
report=${JUICEFS_E2E_REPORT:-$REPOSITORY/target/e2e-report}
image=${JUICEFS_E2E_IMAGE:-}
case_seconds=${JUICEFS_E2E_CASE_SECONDS:-420}
keep=
[ "${1:-}" != --keep ] || { keep=1; shift; }

cases=()
if [ $# = 0 ]; then
    cases=("$cases_dir"/[0-9]*.sh)
else
    for name in "$@"; do
        name=$(basename "$name" .sh)
        found=("$cases_dir/$name"*.sh)
        [ -e "${found[0]}" ] || die "there is no case '$name' in $cases_dir"
        cases+=("${found[@]}")
    done
fi

rm -rf "$report"
mkdir -p "$report"
running=
cleanup() {
    status=$?
    trap - EXIT
    [ -z "$running" ] || kill "$running" 2>/dev/null || true
    [ -n "$keep" ] || "$CLUSTER_DIR/down.sh" || status=1
    exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# The chart, if there is one; cases from 10 on need it.
chart=$REPOSITORY/charts/juicefs
product=
if [ -e "$chart/Chart.yaml" ] && [ -z "$image" ]; then
    image=$REPOSITORY/target/juicefs-image.tar
    if ! (cd "$REPOSITORY" && cargo xtask image --output "$image" ${JUICEFS:+--binary "$JUICEFS"}) >"$report/image.txt" 2>&1; then
        tail -n 20 "$report/image.txt" >&2
        say "the image could not be made (see $report/image.txt)"
        image=
    fi
fi

"$CLUSTER_DIR/up.sh"
"$CLUSTER_DIR/servers.sh" start
[[ " ${cases[*]} " != *_no_secret_shows.sh\ * ]] || "$cases_dir/watch.sh" start

if [ -e "$chart/Chart.yaml" ] && [ -n "$image" ]; then
    say "installing the chart"
    if "$REPOSITORY/e2e/install.sh" "$image" >"$report/install.txt" 2>&1; then
        product=1
    else
        tail -n 20 "$report/install.txt" >&2
        say "the chart did not come up; what its pods say:"
        "$CLUSTER_DIR/collect.sh" "$report/install" || true
        "$CLUSTER_DIR/kubectl" --namespace juicefs-system get pods --output=wide >&2 || true
    fi
else
    say "no chart or no image: only the cases of the cluster itself run"
fi

export JUICEFS_E2E_COLLECT=$report
passed=0 failed=0
for file in "${cases[@]}"; do
    name=$(basename "$file" .sh)
    began=$SECONDS
    if [[ $name != 0* ]] && [ -z "$product" ]; then
        printf 'FAILED %s (nothing installed)\n' "$name"
        failed=$((failed + 1))
        continue
    fi
    # Aside, so that a signal to this script is heard at once.
    timeout --kill-after=30 "$case_seconds" bash "$file" >"$report/$name.txt" 2>&1 &
    running=$!
    if wait $running; then
        printf 'ok %s (%s s)\n' "$name" $((SECONDS - began))
        passed=$((passed + 1))
    else
        status=$?
        printf 'FAILED %s (%s s, exit code %s; %s)\n' "$name" $((SECONDS - began)) "$status" "$report/$name"
        tail -n 25 "$report/$name.txt" | sed 's/^/    /'
        failed=$((failed + 1))
    fi
done
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
