#!/bin/bash
# Servers inside the cluster's network, as processes of the node with Services in front: redis.storage:6379 (append-only
# file on), s3.storage:9000 (SeaweedFS, path-style) and, for the case that asks for it, postgres.storage:5432.
# Their passwords are made per cluster and are canaries: no argument list, environment, log or object may ever show them.
# The tools of the tests, which have no such manners, are users of their own: judge.
#
# servers.sh [start|stop] [redis|s3|postgres]...      default: start both; stop keeps what they stored
#
# Afterwards $STATE/secrets has one value a file: redis-password, s3-access-key, s3-secret-key, and the same for the
# judge in judge-*; `control` is a canary that is shown everywhere, for the search to find.

. "$(dirname "$0")/lib.sh"

action=${1:-start}
shift || true
[ $# -gt 0 ] || set -- redis s3

secrets=$STATE/secrets
if [ ! -e "$secrets/s3-secret-key" ]; then
    node_pid >/dev/null || die "no cluster runs in $STATE; start one with $CLUSTER_DIR/up.sh"
    (
        umask 077
        mkdir -p "$secrets"
        printf 'canary-redis-%s' "$(openssl rand -hex 12)" >"$secrets/redis-password"
        printf 'E2EACCESSKEY%s' "$(openssl rand -hex 4)" >"$secrets/s3-access-key"
        printf 'judge-%s' "$(openssl rand -hex 12)" >"$secrets/judge-redis-password"
        printf 'JUDGEACCESSKEY%s' "$(openssl rand -hex 4)" >"$secrets/judge-s3-access-key"
        printf 'judge-%s' "$(openssl rand -hex 16)" >"$secrets/judge-s3-secret-key"
        printf 'canary-control-%s' "$(openssl rand -hex 12)" >"$secrets/control"
        printf 'canary-s3-%s' "$(openssl rand -hex 16)" >"$secrets/s3-secret-key"
    )
fi

[ -e "$secrets/postgres-password" ] || (umask 077; printf 'canary-postgres-%s' "$(openssl rand -hex 12)" >"$secrets/postgres-password")

# Runs a program in the node, apart from this script, with its id (as the node counts) kept in $STATE/NAME.pid.
serve() {
    local name=$1
    shift
    in_node setsid --fork bash -c 'echo $$ >"$1"; shift; log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null' \
        serve "$STATE/$name.pid" "$STATE/log/$name.log" "$@"
}

running() { [ -r "$STATE/$1.pid" ] && in_node kill -0 "$(cat "$STATE/$1.pid")" 2>/dev/null; }

# A Service without a selector and the slice that says where it is.
announce() {
    "$CLUSTER_DIR/kubectl" apply --filename - >&2 <<EOF
apiVersion: v1
kind: Namespace
metadata: {name: storage}
---
apiVersion: v1
kind: Service
metadata: {name: $1, namespace: storage}
spec: {ports: [{name: $1, port: $2, targetPort: $2}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: $1-node, namespace: storage, labels: {kubernetes.io/service-name: $1}}
addressType: IPv4
ports: [{name: $1, port: $2}]
endpoints: [{addresses: [$NODE_IP], conditions: {ready: true}}]
EOF
}

start_redis() {
    local dir=$STATE/redis
    mkdir -p "$dir"
    (
        umask 077
        cat >"$dir/redis.conf" <<EOF
bind $NODE_IP 127.0.0.1
port 6379
dir $dir
requirepass $(cat "$secrets/redis-password")
user judge on >$(cat "$secrets/judge-redis-password") ~* &* +@all
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
EOF
    )
    serve redis redis-server "$dir/redis.conf"
    answers() { REDISCLI_AUTH=$(cat "$secrets/judge-redis-password") in_network redis-cli --user judge -h "$NODE_IP" ping | grep -q PONG; }
    until_true 20 "Redis answers (see $STATE/log/redis.log)" answers
    announce redis 6379
}

start_s3() {
    local dir=$STATE/s3
    mkdir -p "$dir"
    (
        umask 077
        cat >"$dir/s3.json" <<EOF
{"identities": [
 {"name": "e2e", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "$(cat "$secrets/s3-access-key")", "secretKey": "$(cat "$secrets/s3-secret-key")"}]},
 {"name": "judge", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "$(cat "$secrets/judge-s3-access-key")", "secretKey": "$(cat "$secrets/judge-s3-secret-key")"}]}]}
EOF
    )
    # Every bucket takes about seven volumes; when it has no more it answers every PUT with an error.
    serve s3 "$S3_SERVER" server -dir="$dir" -ip="$NODE_IP" -ip.bind="$NODE_IP" \
        -master.port=9333 -volume.port=9340 -filer -filer.port=9350 -s3 -s3.port=9000 -s3.config="$dir/s3.json" \
        -volume.max=1000 -master.volumeSizeLimitMB=64 -master.telemetry=false
    answers() {
        in_network python3 -c '
import json, sys, urllib.error, urllib.request
assigned = json.load(urllib.request.urlopen(f"http://{sys.argv[1]}:9333/dir/assign", timeout=2))
assert "fid" in assigned, assigned
try:
    urllib.request.urlopen(f"http://{sys.argv[1]}:9000/", timeout=2)
except urllib.error.HTTPError as refused:
    assert refused.code == 403, refused
' "$NODE_IP"
    }
    until_true 40 "the S3 server takes objects (see $STATE/log/s3.log)" answers
    announce s3 9000
}

# The judge made the cluster of databases; the user juicefs has the canary.
start_postgres() {
    local dir=$STATE/postgres bin as
    bin=$(dirname "$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | tail -n 1)") || die "there is no PostgreSQL; e2e/tools/install.sh installs it"
    as=(setpriv "--reuid=$(id -u postgres)" "--regid=$(id -g postgres)" --clear-groups)
    if [ ! -e "$dir/PG_VERSION" ]; then
        install -d -m 700 -o postgres "$dir"
        install -m 600 -o postgres "$secrets/judge-redis-password" "$STATE/postgres-judge"
        (cd / && "${as[@]}" "$bin/initdb" -D "$dir" -U judge -A scram-sha-256 --pwfile="$STATE/postgres-judge" -E UTF8 --no-locale --no-sync) \
            >"$STATE/log/initdb.log" 2>&1 || die "initdb failed, see $STATE/log/initdb.log"
        echo 'host all all all scram-sha-256' >>"$dir/pg_hba.conf"
    fi
    serve postgres "${as[@]}" "$bin/postgres" -D "$dir" -c listen_addresses="$NODE_IP" -c unix_socket_directories=
    answers() { postgres_says 'SELECT 1' | grep -q 1; }
    until_true 20 "PostgreSQL answers (see $STATE/log/postgres.log)" answers
    if [ "$(postgres_says "SELECT count(*) FROM pg_roles WHERE rolname = 'juicefs'")" = 0 ]; then
        postgres_says "\\set password \`cat '$secrets/postgres-password'\`
            CREATE ROLE juicefs LOGIN PASSWORD :'password';"
    fi
    announce postgres 5432
}

stop() {
    running "$1" || return 0
    local pid
    pid=$(cat "$STATE/$1.pid")
    # PostgreSQL waits for its clients to leave when it is asked kindly.
    if [ "$1" = postgres ]; then in_node kill -INT "$pid" || true; else in_node kill -TERM "$pid" || true; fi
    ended() { ! running "$1"; }
    # SeaweedFS takes long to say goodbye.
    until_true 5 "$1 ends" ended "$1" 2>/dev/null || { in_node kill -KILL "$pid" || true; until_true 10 "$1 is killed" ended "$1"; }
    rm -f "$STATE/$1.pid"
}

for server in "$@"; do
    case $action-$server in
        start-redis) running redis || start_redis ;;
        start-s3) running s3 || start_s3 ;;
        start-postgres) running postgres || start_postgres ;;
        stop-redis | stop-s3 | stop-postgres) stop "$server" ;;
        *) die "servers.sh [start|stop] [redis|s3|postgres]..." ;;
    esac
done
