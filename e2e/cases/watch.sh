#!/bin/bash
# Watches a whole run for canaries: every process's arguments and environment, every container's log, from here to the end.
#
# watch.sh start     leaves a watcher in the node; one that is there is left alone
# watch.sh stop      ends it; its findings are then in $STATE/watch/seen

. "$(dirname "$0")/../cluster/lib.sh"

folder=$STATE/watch
watching() { [ -r "$folder/pid" ] && in_node kill -0 "$(cat "$folder/pid")" 2>/dev/null && [ ! -e "$folder/stop" ]; }

case ${1:-} in
    start)
        watching && exit 0
        rm -rf "$folder"
        mkdir -p "$folder"
        in_node setsid --fork bash -c 'echo $$ >"$1/pid"; shift; log=$1; shift; exec "$@" >"$log" 2>&1 </dev/null' \
            watch "$folder" "$folder/log" nice -n 5 python3 "$REPOSITORY/e2e/cases/canary.py" watch \
            --stop "$folder/stop" --output "$folder/seen" --in /var/log/pods \
            "$STATE/secrets/redis-password" "$STATE/secrets/s3-secret-key" "$STATE/secrets/postgres-password" "$STATE/secrets/control"
        until_true 10 "the watcher runs (see $folder/log)" watching
        ;;
    stop)
        watching || die "no watcher runs (see $folder/log)"
        touch "$folder/stop"
        until_true 30 "the watcher says what it saw (see $folder/log)" test -e "$folder/seen"
        ;;
    *) die "watch.sh start|stop" ;;
esac
