# What the cases share; sourced by each. A case is a script that ends with 0 when everything in it holds.
#
# It gets a cluster with Redis, S3 and, from case 10 on, the chart. It works in a namespace of its own, $NS, and in a
# Redis database of its own ($CASE_NUMBER), so that cases can run in any order, alone, and after a failed one.
# Everything waits for a condition with a deadline; there is no other sleep.

set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../cluster/lib.sh"

CASE=$(basename "$0" .sh)
CASE_NUMBER=${CASE%%_*}
NS=case-$CASE_NUMBER
# What bytes and trees are compared by lies here, on this machine.
WORK=$STATE/work/$CASE
DRIVER=csi.juicefs.com
CHART_NAMESPACE=juicefs-system

kubectl() { "$CLUSTER_DIR/kubectl" "$@"; }
k() { kubectl --namespace "$NS" "$@"; }
apply() { k apply --filename - >/dev/null; }

# A command that fails is the end of a case, and is named.
set -E
trap 'printf "FAILED: line %s of %s: %s\n" "$LINENO" "${BASH_SOURCE[0]##*/}" "$BASH_COMMAND" >&2' ERR

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
step() { printf -- '- %s\n' "$*"; }

# expect WHAT EXPECTED ACTUAL
expect() { [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"; }
# expect_in WHAT PART WHOLE
expect_in() { [[ "$3" == *"$2"* ]] || fail "$1: '$2' is not in '$3'"; }

secret() { cat "$STATE/secrets/$1"; }

begin() {
    mkdir -p "$WORK"
    # Kept from run to run: the chart gave rights in it (e2e/install.sh).
    kubectl get namespace "$NS" >/dev/null 2>&1 || kubectl create namespace "$NS" >/dev/null
    clear_namespace
    until_true 30 "the default service account of $NS" kubectl --namespace "$NS" get serviceaccount default
}

# Takes away what a case made: pods, then claims, then file systems, as what they have outside needs what comes after.
clear_namespace() {
    k delete pods --all --force --grace-period=0 --timeout=60s >/dev/null 2>&1 || true
    k delete pvc --all --timeout=60s >/dev/null 2>&1 || true
    k delete mirrors.juicefs.rs,filesystems.juicefs.rs --all --timeout=60s >/dev/null 2>&1 || true
    k delete jobs,services,secrets --all --timeout=60s >/dev/null 2>&1 || true
}

# The end of a case, good or bad; its EXIT trap. What went wrong is collected first, while it can still be looked at.
end() {
    local status=${1:-$?}
    trap - EXIT
    if [ "$status" != 0 ] && [ -n "${JUICEFS_E2E_COLLECT:-}" ]; then
        "$CLUSTER_DIR/collect.sh" "$JUICEFS_E2E_COLLECT/$CASE" >/dev/null 2>&1 || true
    fi
    clear_namespace
}

# ---- volumes

# Everything in a case's own Redis database, which is emptied first, and in a bucket that no other run had.
RUN=$(date +%s)
DATABASE=$((10#$CASE_NUMBER % 16))
meta_url() { printf 'redis://redis.storage:6379/%s' "$DATABASE"; }
# The same for the tools of the tests.
judge_url() { printf 'redis://judge@redis.storage:6379/%s' "$DATABASE"; }
bucket() { printf 'http://s3.storage:9000/%s-%s' "$NS" "$RUN"; }

# Empties the case's Redis database: the volume of an earlier run is not this run's.
forget_volume() { redis flushdb >/dev/null; }

# redis COMMAND... : asks the case's Redis database.
redis() { REDISCLI_AUTH=$(secret judge-redis-password) in_network redis-cli --user judge -h "$NODE_IP" -n "$DATABASE" "$@"; }

# The two Secrets that a FileSystem names. By files: nothing secret is an argument.
storage_secrets() {
    k create secret generic meta --from-file=password="$STATE/secrets/redis-password" >/dev/null
    k create secret generic s3 --from-file=access-key="$STATE/secrets/s3-access-key" --from-file=secret-key="$STATE/secrets/s3-secret-key" >/dev/null
}

# file_system NAME [CLASS] : the manifest of a FileSystem with one StorageClass, called like the case unless named.
file_system() {
    cat <<EOF
apiVersion: juicefs.rs/v1alpha1
kind: FileSystem
metadata: {name: $1}
spec:
  meta: {engine: redis, url: "$(meta_url)", secretRef: {name: meta, key: password}}
  storage: {type: s3, bucket: "$(bucket)", secretRef: {name: s3}}
  format: {trashDays: 1}
  storageClasses: [{name: ${2:-$NS}, reclaimPolicy: Delete, allowVolumeExpansion: true}]
  secretExport: {name: $1-csi}
EOF
}

ready_file_system() {
    forget_volume
    storage_secrets
    file_system "$@" | apply
    k wait --for=condition=Ready "filesystem.juicefs.rs/$1" --timeout=120s >/dev/null || {
        k get filesystem.juicefs.rs "$1" --output=jsonpath='{.status.conditions}' >&2
        fail "the FileSystem $1 is not Ready"
    }
}

# claim NAME [CLASS] [MODE] [LABELS] [ANNOTATIONS]
claim() {
    apply <<EOF
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: $1, labels: {${4:-}}, annotations: {${5:-}}}
spec:
  accessModes: [${3:-ReadWriteMany}]
  storageClassName: ${2:-$NS}
  resources: {requests: {storage: 1Gi}}
EOF
}

bound() { k wait --for=jsonpath='{.status.phase}'=Bound "pvc/$1" --timeout=60s >/dev/null || { k describe pvc "$1" >&2; fail "the claim $1 is not bound"; }; }

# told KIND NAME REASON [SECONDS] : an Event about an object of the case says so; prints what it says.
told() {
    local fields="involvedObject.kind=$1,involvedObject.name=$2,reason=$3"
    event_is_there() { [ -n "$(k get events --field-selector "$fields" --output=name)" ]; }
    until_true "${4:-20}" "an Event $3 on $1 $2" event_is_there
    k get events --field-selector "$fields" --output=jsonpath='{.items[0].type}: {.items[0].message}'
}

# condition NAME TYPE FIELD : of a FileSystem.
condition() { k get jfs "$1" --output=jsonpath="{.status.conditions[?(@.type==\"$2\")].$3}"; }
# becomes NAME TYPE REASON [SECONDS] : waits until the condition has that reason; prints its message.
becomes() {
    has_reason() { [ "$(condition "$1" "$2" reason)" = "$3" ]; }
    until_true "${4:-60}" "the condition $2 of $1 has the reason $3" has_reason "$1" "$2" "$3"
    condition "$1" "$2" message
}

# The PersistentVolume of a claim, and the directory that it is in the volume.
pv_of() { k get pvc "$1" --output=jsonpath='{.spec.volumeName}'; }
directory_of() { kubectl get pv "$(pv_of "$1")" --output=jsonpath='{.spec.csi.volumeAttributes.subPath}'; }

# ---- pods

# pod NAME CLAIM [true] : a pod that has the claim at /data, read-only if so, and waits to be told what to do.
pod() {
    apply <<EOF
apiVersion: v1
kind: Pod
metadata: {name: $1}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: $TOOLBOX_IMAGE
    imagePullPolicy: Never
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: $2, readOnly: ${3:-false}}}]
EOF
}

running_pod() {
    pod "$@"
    k wait --for=condition=Ready "pod/$1" --timeout=90s >/dev/null || { k describe pod "$1" >&2; fail "the pod $1 does not run"; }
}

in_pod() {
    local name=$1
    shift
    k exec "$name" -- "$@"
}

# process_of POD-UID COMM : the process of that name in a pod, as the node counts.
process_of() {
    in_node bash -c 'for pid in $(pgrep -x "$2"); do
        if grep -q -- "$1" "/proc/$pid/cgroup"; then echo "$pid"; exit; fi
    done; exit 1' process_of "$1" "$2"
}

# The mount pods of the driver; the argument narrows by label.
mount_pods() { kubectl get pods --all-namespaces --selector "app.kubernetes.io/name=juicefs-mount${1:+,$1}" --output=jsonpath='{range .items[*]}{.metadata.namespace}/{.metadata.name}{"\n"}{end}'; }

# A digest of names, kinds, modes, link counts, targets, sizes and bytes of everything under a directory, but for the
# files of the client itself, which are in no volume. A script for `bash -c`, so that it runs in a pod as well as here.
TREE_DIGEST='
    cd "$1" || exit
    own=(-path ./.stats -o -path ./.config -o -path ./.accesslog -o -path ./.control -o -path ./.trash)
    {
        find . \( "${own[@]}" \) -prune -o -type d -printf "%P d %m\n" -o -printf "%P %y %m %n %s %l\n" | LC_ALL=C sort
        find . \( "${own[@]}" \) -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum
    } | sha256sum | cut -d" " -f1'
digest_in_pod() { in_pod "$1" bash -c "$TREE_DIGEST" digest "$2"; }

# ---- the peer, in the node's network and with a mount of its own that nobody else sees

# with_peer SCRIPT [ARGUMENT...] : mounts the case's volume with the peer, read-only unless PEER_WRITES is set, at $MNT,
# and runs a bash script there.
with_peer() {
    local script=$1
    shift
    mkdir -p "$WORK/peer/mnt"
    META_PASSWORD=$(secret judge-redis-password) PEER_SCRIPT=$script HOME="$WORK/peer" in_node bash -c '
        set -euo pipefail
        peer=$1 url=$2 work=$3 mode=$4
        shift 4
        MNT=$work/mnt
        export MNT PEER=$peer
        "$peer" mount $mode --no-usage-report --cache-dir "$work/cache" --log "$work/mount.log" --background "$url" "$MNT" >"$work/out.log" 2>&1 ||
            { tail -n 5 "$work/out.log" "$work/mount.log" >&2; exit 1; }
        trap "\"$peer\" umount \"$MNT\" >/dev/null 2>&1 || umount -l \"$MNT\"" EXIT
        bash -euo pipefail -c "$PEER_SCRIPT" peer "$@"
    ' peer "$PEER" "$(judge_url)" "$WORK/peer" "${PEER_WRITES---read-only}" "$@"
}

peer() {
    mkdir -p "$WORK/peer"
    META_PASSWORD=$(secret judge-redis-password) ACCESS_KEY=$(secret judge-s3-access-key) SECRET_KEY=$(secret judge-s3-secret-key) \
        HOME="$WORK/peer" in_node "$PEER" "$@"
}
