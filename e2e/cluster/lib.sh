# Shared by the scripts of the test cluster; sourced, never run.
#
# One cluster is one *state directory*: everything that a running node has (certificates, etcd's data,
# containerd's root, logs, the id of its first process) is in there, and nothing of it is anywhere else.
# What may be used again by every cluster (programs, images, the base system) is in the *cache*, outside the checkout.

set -euo pipefail

CLUSTER_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPOSITORY=$(cd "$CLUSTER_DIR/../.." && pwd)
CACHE=${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e}
STATE=${JUICEFS_E2E_STATE:-/tmp/juicefs-e2e/default}

# One fixed address for the node, inside its own network namespace: two clusters can have the same one.
NODE_NAME=node-1
NODE_IP=10.180.0.1
SERVICE_RANGE=10.96.0.0/16
API_SERVICE_IP=10.96.0.1
POD_RANGE=10.244.1.0/24
CLUSTER_DOMAIN=cluster.local

# The names that images have without a registry.
PAUSE_IMAGE=registry.k8s.io/pause:3.10
PROVISIONER_IMAGE=registry.k8s.io/sig-storage/csi-provisioner:v6.3.0
RESIZER_IMAGE=registry.k8s.io/sig-storage/csi-resizer:v2.2.0
TOOLBOX_IMAGE=juicefs.rs/e2e/toolbox:1
TOOLBOX_ARCHIVE=$CACHE/toolbox-image-2

KUBE_VERSION=1.34.4
# What e2e/tools/install.sh installs: the peer that judges us, and an S3 server.
PEER=$CACHE/venv/bin/juicefs
S3_SERVER=$CACHE/venv/bin/weed

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# until_true SECONDS WHAT COMMAND... : runs COMMAND until it succeeds; fails when the deadline has passed, naming WHAT
# and what COMMAND said last.
until_true() {
    local seconds=$1 what=$2 end said
    shift 2
    end=$(( $(date +%s%N) + seconds * 1000000000 ))
    until said=$("$@" 2>&1); do
        if [ "$(date +%s%N)" -ge "$end" ]; then
            printf 'error: not within %s s: %s\n%s\n' "$seconds" "$what" "$(tail -n 3 <<<"$said")" >&2
            return 1
        fi
        sleep 0.1
    done
}

# The first process of the running node, as the host counts, or nothing.
# A pid alone could be a stranger's after a restart of the machine, so its start time is kept beside it.
node_pid() {
    local pid started
    [ -r "$STATE/node.pid" ] || return 1
    read -r pid started <"$STATE/node.pid"
    [ "$(start_time "$pid")" = "$started" ] && printf '%s\n' "$pid"
}

start_time() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# Runs a command in all namespaces of the node.
in_node() {
    local pid
    pid=$(node_pid) || die "no cluster runs in $STATE; start one with $CLUSTER_DIR/up.sh"
    nsenter -t "$pid" -a -- "$@"
}

# Runs a command of this machine, with this machine's files, in the node's network.
in_network() {
    local pid
    pid=$(node_pid) || die "no cluster runs in $STATE; start one with $CLUSTER_DIR/up.sh"
    nsenter -t "$pid" -n -- "$@"
}

# postgres_says STATEMENTS : what the PostgreSQL of servers.sh answers to the judge, who may do all.
postgres_says() {
    PGPASSWORD=$(cat "$STATE/secrets/judge-redis-password") in_network psql -h "$NODE_IP" -U judge -d postgres -X -q -A -t -v ON_ERROR_STOP=1 <<<"$1"
}

# part NAME : the folder in the cache where the build of parts/NAME is, for exactly these sources and this Go.
part() {
    local sum
    sum=$(cd "$CLUSTER_DIR/parts/$1" && { cat -- *; go env GOVERSION; } | sha256sum | cut -c1-12)
    printf '%s/%s-%s\n' "$CACHE" "$1" "$sum"
}
