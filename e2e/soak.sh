#!/bin/bash
# e2e/soak.sh ROW: one long run whose short cut is part of `make test`. MINUTES (default 30) and SEED (default: the
# clock) choose its length and its course; the same seed runs the same course. The result goes into docs/measured.md.
# JUICEFS names a binary to take instead of building one.
#   model   random operations against a model: the name space, file contents, slices
#   fsx     fsx with one seed after the other on fresh mounts (SQLite, then Redis), judged by fsck and audit
#   storm   we and the peer in the same directories at once (SQLite and Redis), judged as in e2e/peer
set -u
cd "$(dirname "$0")/.." || exit 2
row=${1:-} minutes=${MINUTES:-30} seed=${SEED:-$(date +%s)}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/juicefs-target}
cache=${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e} jfs=${JUICEFS:-$CARGO_TARGET_DIR/e2e/juicefs} builds=${JUICEFS:-yes}
export JUICEFS_E2E_CACHE=$cache JUICEFS=$jfs
size='' failure=''
work=$(mktemp -d /tmp/juicefs-soak.XXXXXX) redis_pid=
finish() {
    mountpoint -q "$work/mnt" && "$jfs" umount --force "$work/mnt"
    [ -n "$redis_pid" ] && kill "$redis_pid"
    [ -z "$failure" ] && rm -rf "$work"
}
trap finish EXIT
fail() { failure=$1 && echo "FAIL: $failure (seed $seed, kept in $work)"; }

model() { # proptest prints the shrunk case; a round of many cases is repeated with the next seed until the time is up
    local round=0 cases=${CASES:-1000} passed=0
    while [ $SECONDS -lt $end ] && [ -z "$failure" ]; do
        PROPTEST_RNG_SEED=$((seed + round)) PROPTEST_CASES=$cases cargo test --quiet -p juicefs-meta -p juicefs-vfs -p juicefs-chunk \
            -- is_a_tree bytes_that_were_written last_record_over_it painting list_in_order never_panic hostile_bytes survives_the_record >"$work/round.log" 2>&1 || { tail -n 60 "$work/round.log"; fail "round $round"; }
        round=$((round + 1))
        passed=$(awk '/^test result: ok/ { sum += $4 } END { print sum + 0 }' "$work/round.log")
        [ "$passed" -gt 0 ] || fail "round $round ran no test"
        echo "round $round, seed $((seed + round - 1)): $passed tests passed"
    done
    size="$round x $passed tests of $cases cases"
}

fresh_mount() { # META
    "$jfs" --quiet format --trash-days 0 "$1" soakvol --bucket "$work/data" && mkdir -p "$work/mnt" &&
        "$jfs" mount -d --log "$work/mount.log" --cache-dir "$work/cache" "$1" "$work/mnt"
}

fsx() {
    local engine=sqlite count=0 meta port
    while [ $SECONDS -lt $end ] && [ -z "$failure" ]; do
        if [ $engine = sqlite ]; then meta=sqlite3://$work/meta.db; else
            port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
            redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$work" >/dev/null & redis_pid=$!
            until redis-cli -p "$port" ping >/dev/null 2>&1; do :; done
            meta=redis://127.0.0.1:$port/1
        fi
        fresh_mount "$meta" || { fail "mount on $engine"; return; }
        for _ in 1 2 3 4; do
            [ $SECONDS -lt $end ] || break
            OUTDIR=$work/fsx e2e/suites/fsx-rs.sh "$work/mnt" "$cache/bin/fsx" "${FSX_OPS:-3000}" $((seed + count)) >"$work/fsx.log" 2>&1 || { tail -n 40 "$work/fsx.log"; fail "fsx on $engine, seed $((seed + count))"; break; }
            count=$((count + 1)) && echo "fsx seed $((seed + count - 1)) on $engine: $(tail -n 1 "$work/fsx.log")"
        done
        "$jfs" umount "$work/mnt" && "$jfs" --quiet fsck "$meta" && cargo xtask audit "$meta" >"$work/audit.log" || fail "judges on $engine"
        [ -n "$redis_pid" ] && kill "$redis_pid" && wait "$redis_pid" 2>/dev/null
        redis_pid=
        [ -n "$failure" ] || rm -rf "$work/meta.db"* "$work/data" "$work/cache"
        [ $engine = sqlite ] && engine=redis || engine=sqlite
    done
    size="$count seeds x 4 profiles"
}

storm() { # four volumes, each with its share of the time
    STORM_SECONDS=$((minutes * 60 / 4)) SEED=$seed e2e/peer/run.sh >"$work/storm.log" 2>&1 || { tail -n 40 "$work/storm.log"; fail storm; }
    size="4 volumes x $((minutes * 60 / 4)) s, $(tail -n 1 "$work/storm.log")"
}

case $row in
model | fsx | storm) ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
case $row in
model) cargo test --no-run --quiet -p juicefs-meta -p juicefs-vfs -p juicefs-chunk || exit 2 ;;
fsx) e2e/tools/install.sh suites || exit 2 ;;
storm) e2e/tools/install.sh || exit 2 ;;
esac
if [ "$builds" = yes ] && [ "$row" != model ]; then
    cargo build --quiet --profile e2e --bin juicefs || exit 2
fi
echo "soak $row: $minutes minutes, seed $seed"
begun=$SECONDS end=$((SECONDS + minutes * 60))
$row
commit=$(git rev-parse --short HEAD)$(git diff --quiet HEAD || echo +changes)
grep -q '^## Soak$' docs/measured.md || printf '\n## Soak\n\nLong rows (`make soak ROW=...`), newest last.\n\n| date | commit | row | seed | minutes | size | result |\n|---|---|---|---|---:|---|---|\n' >>docs/measured.md
printf '| %s | %s | %s | %s | %s | %s | %s |\n' "$(date -u +%F)" "$commit" "$row" "$seed" $(((SECONDS - begun + 59) / 60)) "$size" "${failure:-ok}" >>docs/measured.md
tail -n 1 docs/measured.md
[ -z "$failure" ]
