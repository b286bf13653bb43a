#!/bin/bash
# Brings up one Kubernetes node on this machine and waits until pods can run on it.
#
# up.sh [STATE]     STATE: the folder of this cluster (default $JUICEFS_E2E_STATE or /tmp/juicefs-e2e/default)
#
# Two clusters with different folders run side by side. A cluster that runs already is left as it is. Root is needed.
# Then: kubectl, helm (the wrappers in this folder), load.sh IMAGE.tar, servers.sh, down.sh.

[ -z "${1:-}" ] || export JUICEFS_E2E_STATE=$1
. "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || die "a cluster needs root: it makes namespaces, mounts and cgroups"
export PATH=$PATH:/usr/sbin:/sbin

if node_pid >/dev/null; then
    say "the cluster in $STATE runs already"
    exit 0
fi
"$CLUSTER_DIR/build.sh" all
"$CLUSTER_DIR/down.sh" "$STATE"
began=$(date +%s%N)
mkdir -p "$STATE/log" "$STATE/run"
export JUICEFS_E2E_STATE=$STATE
"$CLUSTER_DIR/pki.sh"

# The cgroup that all pods are under, made before the kubelet asks for it.
NODE_CGROUP=/juicefs-e2e-$(printf '%s' "$STATE" | sha256sum | cut -c1-8)
export NODE_CGROUP
printf '%s\n' "$NODE_CGROUP" >"$STATE/cgroup"
if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
    mkdir -p "/sys/fs/cgroup$NODE_CGROUP"
    for controller in cpuset cpu io memory pids hugetlb; do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
    done
else
    for controller in /sys/fs/cgroup/*/; do
        mountpoint -q "$controller" || continue
        mkdir -p "${controller%/}$NODE_CGROUP"
        for file in cpuset.cpus cpuset.mems; do
            [ ! -e "$controller$file" ] || cat "$controller$file" >"${controller%/}$NODE_CGROUP/$file"
        done
    done
fi

setsid unshare --net --mount --pid --uts --ipc --fork --kill-child --mount-proc \
    bash "$CLUSTER_DIR/node.sh" >>"$STATE/log/node.log" 2>&1 </dev/null &
outer=$!
first=
for _ in $(seq 50); do
    first=$(pgrep -P "$outer") && break
    sleep 0.1
done
[ -n "$first" ] || { tail -n 20 "$STATE/log/node.log" >&2; die "the node did not start"; }
printf '%s %s\n' "$first" "$(start_time "$first")" >"$STATE/node.pid"

failed() {
    say "the last lines of $STATE/log:"
    tail -n 15 "$STATE"/log/*.log >&2
    "$CLUSTER_DIR/down.sh" "$STATE"
    die "the cluster did not come up; its logs are in $STATE/log"
}

kubectl=$CLUSTER_DIR/kubectl
until_true 60 "containerd answers" in_node ctr version || failed
# The images are unpacked while the API server starts.
"$CLUSTER_DIR/load.sh" "$(part pause)-image/image.tar" "$(part csi)-images/"{provisioner,resizer}.tar "$TOOLBOX_ARCHIVE/image.tar" 2>"$STATE/log/load.log" &
loading=$!
started() { [ -e "$STATE/run/started" ] || ! node_pid >/dev/null; }
until_true 240 "the node's programs run" started || failed
node_pid >/dev/null || failed
wait $loading || failed
until_true 60 "the node is registered" "$kubectl" get node "$NODE_NAME" || failed
"$kubectl" wait --for=condition=Ready "node/$NODE_NAME" --timeout=120s >/dev/null || failed
# The controller manager is a second behind: without this account no pod is admitted.
until_true 60 "the default service account is there" "$kubectl" get serviceaccount default || failed
resolves() { in_network python3 - "$NODE_IP" "$API_SERVICE_IP" "$CLUSTER_DOMAIN" <"$CLUSTER_DIR/resolves.py"; }
until_true 30 "the name server answers" resolves || failed
say "node Ready $(( ($(date +%s%N) - began) / 1000000 )) ms after the start, in $STATE"
