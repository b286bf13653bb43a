#!/bin/bash
# e2e/bad-input.sh: every wrong input ends at once in a non-zero exit and one sentence that names the thing, the cause and
# the next step; no password shows, and nothing is written: databases and buckets are the same before and after. Then
# truncated records (faults/damaged.py).
set -u
here=$(dirname "$(realpath "$0")")
jfs=${JUICEFS:-${CARGO_TARGET_DIR:-$HOME/.cache/juicefs-target}/e2e/juicefs}
cache=${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e}
w=$(mktemp -d /tmp/juicefs-bad.XXXXXX)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
    wait
    mountpoint -q "$w/mnt" && "$jfs" umount --force "$w/mnt"
    umount -q "$w/ro" 2>/dev/null
    rm -rf "$w"
}
trap finish EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

say() { echo "$1" | tee -a "$w/said"; }
# All that a command could have written to: every database, every bucket.
snapshot() {
    "$cache/venv/bin/rclone" --config '' lsf -R --files-only --format pst ":s3,provider=Other,access_key_id=ACCESSKEY0,secret_access_key=secretkey0,endpoint='http://127.0.0.1:$s3':" || echo "no listing"
    find "$w"/data* "$w/ro" "$w/cache" -printf '%p %s %T@\n' 2>/dev/null | sort
    for db in "$w"/*.db; do [ -e "$db" ] && echo "$db" && sqlite3 "$db" .dump; done
    redis-cli -p "$port" -a right --no-auth-warning debug digest
}
# refuses NAME SECONDS "words the sentence must have" COMMAND...: words are separated by |
refuses() {
    local name=$1 limit=$2 words=$3 said problem= at=$SECONDS seen=$w/seen.$BASHPID
    shift 3
    snapshot >"$seen.before"
    said=$(timeout 100 "$@" 2>&1 </dev/null) && problem="exit code 0"
    [ $((SECONDS - at)) -le "$limit" ] || problem="$problem took $((SECONDS - at)) s"
    while IFS= read -r -d '|' word; do
        grep -qiF -- "$word" <<<"$said" || problem="$problem no '$word'"
    done <<<"$words|"
    [ "$(grep -c FATAL <<<"$said")" = 1 ] || problem="$problem not one sentence"
    grep -q -e canary -e panicked <<<"$said" && problem="$problem shows the password or panics"
    snapshot >"$seen.after"
    cmp -s "$seen.before" "$seen.after" || problem="$problem something was written: $(diff "$seen.before" "$seen.after" | head -5)"
    if [ -z "$problem" ]; then
        say "ok    $name: $(grep FATAL <<<"$said" | sed 's/.*FATAL>: //' | cut -c1-200)"
    else
        say "FAIL  $name:$problem" && sed 's/^/      /' <<<"$said"
    fi
}
must() { "$@" || say "FAIL  $*"; }

port=$(free_port)
redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$w" --requirepass right --enable-debug-command local >/dev/null & pids+=($!)
until redis-cli -p "$port" ping 2>&1 | grep -q -e PONG -e NOAUTH; do :; done
# An S3 server that ends with this script.
mkdir "$w/weed"
WEED=$cache/venv/bin/weed "$cache/venv/bin/python" - "$w" >"$w/s3.port" <<PYTHON & pids+=($!)
import signal, sys
sys.path.insert(0, "$here/peer")
from servers import S3
server = S3(sys.argv[1] + "/weed")
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
print(server.port, flush=True)
try:
    signal.pause()
finally:
    server.stop()
PYTHON
until [ -s "$w/s3.port" ]; do kill -0 $! || exit 1; done
s3=$(cat "$w/s3.port")
# One port where nobody listens, and one where somebody takes connections and says nothing.
nobody=$(free_port) mute=$(free_port)
python3 -c 'import socket, sys, time; s = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=99); time.sleep(900)' "$mute" & pids+=($!)
until (exec 3<>/dev/tcp/127.0.0.1/"$mute") 2>/dev/null; do :; done

mount=("$jfs" mount -d --log "$w/log")
right=redis://:right@127.0.0.1:$port
s3keys=(env ACCESS_KEY=ACCESSKEY0 SECRET_KEY=secretkey0)
for command in "format" "mount" "status" "fsck" "gc"; do
    arguments=() && [ "$command" = format ] && arguments=(badvol --bucket "$w/data")
    [ "$command" = mount ] && arguments=("$w/mnt" -d --log "$w/log")
    refuses "wrong password, $command" 20 "127.0.0.1:$port|password|META_PASSWORD" "$jfs" "$command" "redis://:canary@127.0.0.1:$port/1" "${arguments[@]}"
    refuses "no password, $command" 20 "127.0.0.1:$port|password|META_PASSWORD" "$jfs" "$command" "redis://127.0.0.1:$port/1" "${arguments[@]}"
    refuses "unreachable database, $command" 20 "127.0.0.1:$nobody|refused|is redis-server running" "$jfs" "$command" "redis://:canary@127.0.0.1:$nobody/1" "${arguments[@]}"
    refuses "no volume in Redis, $command" 20 "$([ "$command" = format ] && echo 'not supported yet' || echo 'juicefs format')" "$jfs" "$command" "$right/1" "${arguments[@]}" $([ "$command" = format ] && echo --storage oss)
done
slow=()
refuses "a database that says nothing" 65 "127.0.0.1:$mute|check" "$jfs" status "redis://:canary@127.0.0.1:$mute/1" & slow+=($!)
refuses "a database that says nothing, mount" 65 "127.0.0.1:$mute|check" "${mount[@]}" "redis://:canary@127.0.0.1:$mute/1" "$w/mnt1" & slow+=($!)
refuses "a store that says nothing" 65 "127.0.0.1:$mute|is the server up" env SECRET_KEY=canary ACCESS_KEY=K "$jfs" format "sqlite3://$w/a.db" badvol --storage s3 --bucket "http://127.0.0.1:$mute/b" & slow+=($!)
for meta in "sqlite3://$w/a.db" "$right/2"; do
    refuses "wrong S3 key, ${meta%%:*}" 20 "denied|access key" env SECRET_KEY=canary ACCESS_KEY=NOSUCHKEY "$jfs" format "$meta" badvol --storage s3 --bucket "http://127.0.0.1:$s3/b"
    refuses "wrong S3 secret, ${meta%%:*}" 20 "denied|secret key" env SECRET_KEY=canary ACCESS_KEY=ACCESSKEY0 "$jfs" format "$meta" badvol --storage s3 --bucket "http://127.0.0.1:$s3/b"
    refuses "unreachable store, ${meta%%:*}" 25 "127.0.0.1:$nobody|is the server up" env SECRET_KEY=canary ACCESS_KEY=K "$jfs" format "$meta" badvol --storage s3 --bucket "http://127.0.0.1:$nobody/b"
done
refuses "unknown storage" 20 "nonsense|use" "$jfs" format "sqlite3://$w/a.db" badvol --storage nonsense --bucket x
refuses "storage of the peer" 20 "not supported yet" "$jfs" format "sqlite3://$w/a.db" badvol --storage oss --bucket x
refuses "an address for a folder" 20 "http://127.0.0.1:$s3/b|--storage s3" "${s3keys[@]}" "$jfs" format "sqlite3://$w/a.db" badvol --bucket "http://127.0.0.1:$s3/b"
refuses "a name that no bucket has" 10 "B_b|lower-case" "${s3keys[@]}" "$jfs" format "sqlite3://$w/a.db" badvol --storage s3 --bucket "http://127.0.0.1:$s3/B_b"
refuses "no keys" 10 "there is no access key|ACCESS_KEY" "$jfs" format "sqlite3://$w/a.db" badvol --storage s3 --bucket "http://127.0.0.1:$s3/b"
echo '{"Setting":' >"$w/cut.json"
refuses "a dump that is cut" 20 "can't be loaded" "$jfs" load "sqlite3://$w/a.db" "$w/cut.json"
refuses "a dump of the other kind" 20 "JSON|--binary" "$jfs" load "sqlite3://$w/a.db" "$w/cut.json" --binary
refuses "bad volume name" 20 "Bad_Name|3 to 63" "$jfs" format "sqlite3://$w/a.db" Bad_Name --bucket "$w/data"
refuses "unknown engine" 20 "nonsense" "$jfs" status nonsense://x
refuses "no volume" 20 "not formatted|juicefs format" "$jfs" status "sqlite3://$w/a.db"
refuses "mount of no volume" 20 "holds no volume|juicefs format" "$jfs" mount -d --log "$w/log" "sqlite3://$w/a.db" "$w/mnt"
wait "${slow[@]}" # before something is written

# A volume on each engine, its data in S3, and what can be wrong with it.
for engine in sqlite redis; do
    if [ $engine = sqlite ]; then good=sqlite3://$w/good.db; else good=$right/3; fi
    name=good$engine
    must "${s3keys[@]}" "$jfs" --quiet format "$good" $name --storage s3 --bucket "http://127.0.0.1:$s3/$name"
    # The same volume, its setting changed by hand: newer, and in a bucket that is not there.
    if [ $engine = sqlite ]; then
        newer=sqlite3://$w/newer.db nobucket=sqlite3://$w/nobucket.db
        sqlite3 "$w/good.db" ".backup $w/newer.db" ".backup $w/nobucket.db"
        sqlite3 "$w/newer.db" "update jfs_setting set value = replace(value, '\"MetaVersion\": 1', '\"MetaVersion\": 2')"
        sqlite3 "$w/nobucket.db" "update jfs_setting set value = replace(value, '/$name\"', '/nosuch\"')"
    else
        newer=$right/4 nobucket=$right/5
        redis() { redis-cli -p "$port" -a right --no-auth-warning -n "$@"; }
        redis 3 get setting | sed 's/"MetaVersion": 1/"MetaVersion": 2/' | redis 4 -x set setting >/dev/null
        for key in $(redis 3 keys '*'); do redis 3 copy "$key" "$key" db 5 >/dev/null; done
        redis 3 get setting | sed "s,/$name\",/nosuch\"," | redis 5 -x set setting >/dev/null
    fi
    refuses "other volume in the database, $engine" 20 "$name|other|another database" "$jfs" format "$good" other --bucket "$w/data"
    refuses "block size can't change, $engine" 20 "block size|4096|1024|another database" "$jfs" format "$good" $name --block-size 1M
    for command in "mount -d --log $w/log $nobucket $w/mnt" "fsck $nobucket" "gc $nobucket"; do
        refuses "bucket that does not exist, ${command%% *}, $engine" 20 "nosuch at http://127.0.0.1:$s3|does not exist|create it" "$jfs" $command
    done
    refuses "mount with the wrong key, $engine" 20 "$name at http://127.0.0.1:$s3|denied|check" env SECRET_KEY=canary ACCESS_KEY=NOSUCHKEY "${mount[@]}" "$good" "$w/mnt"
    refuses "store that must answer, $engine" 20 "127.0.0.1:$nobody" "${mount[@]}" "$good" "$w/mnt" --check-storage --bucket "http://127.0.0.1:$nobody/$name"
    refuses "mount flag unknown, $engine" 20 "nonsense" bash -o pipefail -c "${mount[*]} $good $w/mnt --nonsense 2>&1 | sed 's/^error/FATAL/'"
    refuses "no folder for the log, $engine" 20 "log file /nosuch/log|--log" "$jfs" mount -d "$good" "$w/mnt" --log /nosuch/log
    refuses "bad cache size, $engine" 20 "cache-size|12Q|write a number" "${mount[@]}" "$good" "$w/mnt" --cache-size 12Q
    touch "$w/file"
    refuses "mount point is a file, $engine" 20 "$w/file|not a directory|name one" "${mount[@]}" "$good" "$w/file"
    mkdir -p "$w/ro" && mount -t tmpfs -o ro none "$w/ro"
    refuses "read-only cache directory, $engine" 20 "$w/ro|Read-only|--cache-dir" "${mount[@]}" --cache-dir "$w/ro/cache" "$good" "$w/mnt"
    umount "$w/ro"
    # A mount that writes nothing by itself.
    must "${mount[@]}" --cache-dir "$w/cache" "$good" "$w/mnt" --read-only
    refuses "mount point in use, $engine" 20 "$w/mnt|umount" "${mount[@]}" --cache-dir "$w/cache" "$good" "$w/mnt" --subdir elsewhere
    exec 9<"$w/mnt"
    refuses "busy umount, $engine" 20 "busy|fuser" "$jfs" umount "$w/mnt"
    exec 9<&-
    must "$jfs" umount "$w/mnt"
    refuses "not mounted, $engine" 20 "$w/mnt|not mounted|findmnt" "$jfs" umount "$w/mnt"
    for command in "mount -d --log $w/log $newer $w/mnt" "status $newer" "format $newer $name --bucket $w/data" "config $newer --trash-days 3" "fsck $newer" "gc $newer"; do
        refuses "newer volume, ${command%% *}, $engine" 20 "version 2|newer client" "$jfs" $command
    done
done
mkdir -p "$w/data2/goodvol/chunks" && echo x >"$w/data2/goodvol/chunks/x"
refuses "store of another volume" 20 "not empty|another volume name" bash -c "$jfs format sqlite3://$w/b.db goodvol --bucket $w/data2"
must "$jfs" --quiet format "sqlite3://$w/infile.db" infile --bucket "$w/data3" && mv "$w/data3" "$w/elsewhere"
refuses "folder that does not exist, mount" 20 "file://$w/data3/|does not exist|create it" "${mount[@]}" "sqlite3://$w/infile.db" "$w/mnt"
for path in "$w/data" "$w/data3" "$w/b.db" "$w/a.db"; do [ -e "$path" ] && say "FAIL  $path was made"; done

JUICEFS=$jfs AUDIT=true "$cache/venv/bin/python" "$here/faults/damaged.py" | tee "$w/damaged.said"
grep -q ' passed, 0 failed$' "$w/damaged.said" || say "FAIL  damaged.py did not end well"
passed=$(cat "$w"/*said | grep -c '^ok ') failed=$(cat "$w"/*said | grep -c '^FAIL ')
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 100 ]
