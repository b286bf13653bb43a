#!/bin/bash
# [WHOLE=1] e2e/suites.sh [sqlite] [redis] [postgres] [mysql] [etcd]: suites that nobody here wrote, on fresh mounts, the engines side by side; both fscks
# and the audit close each. pjdfstest runs twice: with pauses that a clock of 10 ms would pass, and with ones that only
# exact times pass; multiclient asks two mounts what a shared file system promises. What they may fail in and what it may skip are lists, in e2e/suites; anything else, more or less, fails.
# On database servers pjdfstest with pauses and fsx are left out, unless WHOLE=1.
set -u
WHOLE=${WHOLE:-}
here=$(dirname "$(realpath "$0")")
cache=${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e}
target=${CARGO_TARGET_DIR:-$HOME/.cache/juicefs-target}
jfs=${JUICEFS:-$target/e2e/juicefs} peer=$cache/venv/bin/juicefs
work=$(mktemp -d /tmp/jfs.XXXX) # short: addresses of sockets have 107 bytes
chmod 755 "$work" # cases of other users walk through it
trap 'rm -rf "$work"' EXIT
cd "$here/.." && cargo build --quiet --package xtask || exit 1

judge() { # NAME COMMAND...
    local name=$1-$engine at=$SECONDS
    shift
    if "$@" >"$w/$name.log" 2>&1; then
        printf 'ok    %-20s %4ds  %s\n' "$name" $((SECONDS - at)) "$(tail -n 1 "$w/$name.log" | cut -c1-100)"
    else
        printf 'FAIL  %-20s %4ds\n' "$name" $((SECONDS - at)) && tail -n 30 "$w/$name.log"
    fi
}
# The names under a word of pjdfstest's own report are just those of a list.
just_those() { # WORD LIST LOG
    sed 's/\x1b\[[0-9;]*m//g' "$3" | awk -v word="$1" '/^[a-z_0-9]+::[^ ]+/ { name = $1 } $NF == word && name != "" { print name; name = "" }' |
        sort | diff <(grep -v '^#' "$2" | sort) - || { echo "$1: other names than in $2"; return 1; }
}
pjdfstest() { # NAPTIME
    local out=$w/pjd-$1
    NAPTIME=$1 OUTDIR=$out "$here/suites/pjdfstest-rs.sh" "$mnt" "$cache/bin/pjdfstest"
    just_those FAILED "$here/suites/known-pjdfstest.txt" "$out/pjdfstest-rs.log" &&
        just_those skipped "$here/suites/skipped-pjdfstest.txt" "$out/pjdfstest-rs.log" &&
        tail -n 1 "$out/pjdfstest-rs.log" && grep -q '^Summary: .* 398 total' "$out/pjdfstest-rs.log"
}
# Two mounts at once: fails in nothing but what a list names, and leaves no case out.
multiclient() {
    local out=$w/mc-out
    OUTDIR=$out "$here/suites/multiclient.sh" "$jfs" "$meta" "$w/mc"
    local others=$(sort "$out/multiclient.failed" | comm -23 - <(grep -v '^#' "$here/suites/known-multiclient.txt" | sort))
    [ -z "$others" ] || { echo "failed beyond the list: $others"; return 1; }
    grep -c -e '^ok ' -e '^FAIL ' "$out/multiclient.log" | grep -qx 29 && echo "29 cases, $(wc -l <"$out/multiclient.failed") failed"
}
on() { # ENGINE
    engine=$1 w=$work/$1 mnt=$work/$1/m server_pid= whole=1
    mkdir -p "$mnt"
    finish() {
        mountpoint -q "$mnt" && "$jfs" umount --force "$mnt"
        [ -n "$server_pid" ] && kill "$server_pid" && wait "$server_pid"
    }
    trap finish EXIT
    meta=sqlite3://$w/meta.db
    if [ "$engine" = redis ]; then
        port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly yes --dir "$w" >/dev/null &
        server_pid=$!
        until redis-cli -p "$port" ping >/dev/null 2>&1; do :; done
        meta=redis://127.0.0.1:$port/1
    elif [ "$engine" != sqlite ]; then
        whole=$WHOLE
        PYTHONPATH=$here/peer python3 -c '
import signal, sys, servers
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
server = {"postgres": servers.Postgres, "mysql": servers.MariaDb, "etcd": servers.Etcd}[sys.argv[1]](sys.argv[2])
try:
    print(server.database(), flush=True)
    while True:
        signal.pause()
finally:
    server.stop()' "$engine" "$w" >"$w/url" &
        server_pid=$!
        until [ -s "$w/url" ]; do sleep 0.1; kill -0 $server_pid || { echo "FAIL  the server of $engine"; return; }; done
        meta=$(cat "$w/url")
    fi
    judge format "$jfs" format --trash-days 0 "$meta" "suites$engine" --bucket "$w/data"
    judge mount "$jfs" mount -d --no-usage-report --log "$w/mount.log" --cache-dir "$w/cache" "$meta" "$mnt"
    [ -z "$whole" ] || judge pjdfstest pjdfstest 0.15
    judge pjdfstest-exact pjdfstest 0.02
    [ -z "$whole" ] || judge fsx env OUTDIR="$w/fsx" "$here/suites/fsx-rs.sh" "$mnt" "$cache/bin/fsx" "${FSX_OPS:-3000}" "${FSX_SEEDS:-1 2 3}"
    judge umount "$jfs" umount "$mnt"
    judge multiclient multiclient
    judge fsck "$jfs" fsck "$meta"
    judge peer-fsck "$peer" fsck "$meta" --path / --recursive --sync-dir-stat
    judge audit "$target/debug/xtask" audit "$meta"
    judge peer-gc "$peer" gc "$meta"
}
engines=${*:-sqlite redis postgres mysql}
for engine in $engines; do
    (on "$engine") | tee "$work/$engine.said" &
done
wait
passed=$(cat "$work"/*.said | grep -c '^ok ') failed=$(cat "$work"/*.said | grep -c '^FAIL ')
echo "$passed passed, $failed failed"
expected=0
for engine in $engines; do
    case $engine$WHOLE in sqlite*|redis*|*1) expected=$((expected + 11));; *) expected=$((expected + 9));; esac
done
[ "$failed" = 0 ] && [ "$passed" = "$expected" ]
