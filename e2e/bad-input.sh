#!/bin/bash
# e2e/bad-input.sh: every wrong input ends in a non-zero exit and one sentence that names the thing, the cause and
# the next step; nothing is written, and no password is shown.
set -u
here=$(dirname "$(realpath "$0")")
jfs=${JUICEFS:-${CARGO_TARGET_DIR:-$HOME/.cache/juicefs-target}/e2e/juicefs}
cache=${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e}
w=$(mktemp -d /tmp/juicefs-bad.XXXXXX)
passed=0 failed=0 pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
    mountpoint -q "$w/mnt" && "$jfs" umount --force "$w/mnt"
    umount -q "$w/ro" 2>/dev/null
    rm -rf "$w"
}
trap finish EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# refuses NAME "words the sentence must have" COMMAND...: words are separated by |
refuses() {
    local name=$1 words=$2 said problem=
    shift 2
    said=$(timeout 90 "$@" 2>&1 </dev/null) && problem="exit code 0"
    while IFS= read -r -d '|' word; do
        grep -qiF -- "$word" <<<"$said" || problem="$problem no '$word'"
    done <<<"$words|"
    [ "$(grep -c FATAL <<<"$said")" = 1 ] || problem="$problem not one sentence"
    grep -q "canary" <<<"$said" && problem="$problem shows the password"
    if [ -z "$problem" ]; then
        passed=$((passed + 1)) && echo "ok    $name: $(grep FATAL <<<"$said" | sed 's/.*FATAL>: //' | cut -c1-150)"
    else
        failed=$((failed + 1)) && echo "FAIL  $name:$problem" && sed 's/^/      /' <<<"$said"
    fi
}

port=$(free_port)
redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$w" --requirepass right >/dev/null & pids+=($!)
until redis-cli -p "$port" ping 2>&1 | grep -q -e PONG -e NOAUTH; do :; done
s3=$(free_port) && mkdir "$w/s3"
"$cache/venv/bin/rclone" serve s3 --addr "127.0.0.1:$s3" --auth-key ACCESSKEY0,secretkey0 --config '' "$w/s3" >/dev/null 2>&1 & pids+=($!)
until (exec 3<>/dev/tcp/127.0.0.1/"$s3") 2>/dev/null; do :; done
nobody=$(free_port)

refuses "wrong password" "127.0.0.1:$port|password" "$jfs" format "redis://:canary@127.0.0.1:$port/1" badvol --bucket "$w/data"
refuses "no password" "127.0.0.1:$port|password" "$jfs" status "redis://127.0.0.1:$port/1"
refuses "unreachable database" "127.0.0.1:$nobody" "$jfs" format "redis://:canary@127.0.0.1:$nobody/1" badvol --bucket "$w/data"
refuses "wrong S3 key" "denied|access key" env SECRET_KEY=canary ACCESS_KEY=NOSUCHKEY "$jfs" format "sqlite3://$w/a.db" badvol --storage s3 --bucket "http://127.0.0.1:$s3/b"
refuses "unreachable store" "127.0.0.1:$nobody" env SECRET_KEY=canary ACCESS_KEY=K "$jfs" format "sqlite3://$w/a.db" badvol --storage s3 --bucket "http://127.0.0.1:$nobody/b"
refuses "unknown storage" "nonsense|use" "$jfs" format "sqlite3://$w/a.db" badvol --storage nonsense --bucket x
refuses "storage of the peer" "not supported yet" "$jfs" format "sqlite3://$w/a.db" badvol --storage oss --bucket x
refuses "bad volume name" "Bad_Name|3 to 63" "$jfs" format "sqlite3://$w/a.db" Bad_Name --bucket "$w/data"
refuses "unknown engine" "nonsense" "$jfs" status nonsense://x
refuses "no volume" "not formatted|juicefs format" "$jfs" status "sqlite3://$w/a.db"
refuses "mount of no volume" "holds no volume|juicefs format" "$jfs" mount -d --log "$w/log" "sqlite3://$w/a.db" "$w/mnt"
[ -e "$w/data" ] && { failed=$((failed + 1)); echo "FAIL  something was written into the store"; }

good=sqlite3://$w/good.db
"$jfs" --quiet format "$good" goodvol --bucket "$w/data" || failed=$((failed + 1))
refuses "other volume in the database" "goodvol|other" "$jfs" format "$good" other --bucket "$w/data"
refuses "block size can't change" "block size|4096|1024" "$jfs" format "$good" goodvol --block-size 1M
refuses "store of another volume" "not empty" bash -c "mkdir -p $w/data2/goodvol/chunks && echo x > $w/data2/goodvol/chunks/x && $jfs format sqlite3://$w/b.db goodvol --bucket $w/data2"
refuses "mount flag not there yet" "writeback|not supported yet" "$jfs" mount "$good" "$w/mnt" --writeback
refuses "mount flag unknown" "nonsense" bash -c "$jfs mount $good $w/mnt --nonsense 2>&1 | sed 's/^error/FATAL/'; exit 1"
refuses "bad cache size" "cache-size|12Q" "$jfs" mount "$good" "$w/mnt" --cache-size 12Q
refuses "mount point is a file" "$w/file" bash -c "touch $w/file; $jfs mount -d --log $w/log $good $w/file"
mkdir "$w/ro" && mount -t tmpfs -o ro none "$w/ro"
refuses "read-only cache directory" "$w/ro" "$jfs" mount -d --log "$w/log" --cache-dir "$w/ro/cache" "$good" "$w/mnt"
"$jfs" mount -d --log "$w/log" --cache-dir "$w/cache" "$good" "$w/mnt" || failed=$((failed + 1))
refuses "mount point in use" "$w/mnt|umount" "$jfs" mount -d --log "$w/log" --cache-dir "$w/cache" "$good" "$w/mnt"
exec 9>"$w/mnt/open"
refuses "busy umount" "busy" "$jfs" umount "$w/mnt"
exec 9>&-
"$jfs" umount "$w/mnt" || failed=$((failed + 1))
refuses "not mounted" "$w/mnt|not mounted" "$jfs" umount "$w/mnt"

cp "$w/good.db" "$w/newer.db"
sqlite3 "$w/newer.db" "update jfs_setting set value = replace(value, '\"MetaVersion\": 1', '\"MetaVersion\": 2')"
refuses "newer volume" "version 2" "$jfs" mount -d --log "$w/log" "sqlite3://$w/newer.db" "$w/mnt"
cp "$w/good.db" "$w/broken.db"
sqlite3 "$w/broken.db" "update jfs_setting set value = '{\"Name\": '"
refuses "truncated setting" "setting" "$jfs" mount -d --log "$w/log" "sqlite3://$w/broken.db" "$w/mnt"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
