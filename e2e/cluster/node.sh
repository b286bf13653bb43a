#!/bin/bash
# The node: runs as PID 1 of its own net, mount, pid, uts and ipc namespaces (started by up.sh, never by hand).
# It sets up the machine that Kubernetes believes to be alone on, starts the programs, and ends when one of them ends:
# with PID 1 goes every process and every mount of the node. What each program says is in $STATE/log/PROGRAM.log.

. "$(dirname "$0")/lib.sh"

kube=$(part kube)
log=$STATE/log
run=$STATE/run
mkdir -p "$log" "$run"

# ---- the machine

hostname "$NODE_NAME"
mount --make-rslave /
# What this machine mounted by FUSE is none of the node's business; a copy here would keep it from ending there.
awk '/ - fuse(\.| )/ { print $5 }' /proc/self/mountinfo | while read -r mounted; do
    umount --lazy "$(printf '%b' "$mounted")" || true
done
mount -t tmpfs -o mode=755,size=256m tmpfs /run
mkdir -p /run/lock /run/containerd /run/netns

# A folder of the node in place of one of the machine.
own_folder() {
    mkdir -p "$1" "$STATE/fs$1"
    mount --bind "$STATE/fs$1" "$1"
}

# An older run may have left a mount here; containerd takes the first line of mountinfo for a path.
while mountpoint -q /var/lib/kubelet; do umount -R /var/lib/kubelet; done
own_folder /var/lib/kubelet
mount --make-rshared /var/lib/kubelet
own_folder /var/log
own_folder /var/jfsCache

printf '127.0.0.1 localhost\n%s %s\n' "$NODE_IP" "$NODE_NAME" >"$run/hosts"
printf 'nameserver %s\nsearch svc.%s %s\noptions ndots:5\n' "$NODE_IP" "$CLUSTER_DOMAIN" "$CLUSTER_DOMAIN" >"$run/resolv.conf"
: >"$run/resolv.conf.empty"
mount --bind "$run/hosts" /etc/hosts
mount --bind "$run/resolv.conf" "$(readlink -f /etc/resolv.conf)"

# This kernel may have no `dummy` device; a bridge without ports does the same.
ip link set lo up
ip link add node0 type bridge
ip addr add "$NODE_IP/32" dev node0
ip link set node0 up
ip route add "$SERVICE_RANGE" dev node0
echo 1 >/proc/sys/net/ipv4/ip_forward

# ---- settings of the programs

cat >"$run/containerd.toml" <<EOF
version = 2
root = "$STATE/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  # Without CAP_SYS_RESOURCE nobody can lower an oom_score_adj, and runc dies trying.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$run/cni"
EOF

# One routed pair of interfaces a pod, no bridge: every packet passes the node's rules, so services need no bridge filter.
mkdir -p "$run/cni"
cat >"$run/cni/10-pods.conflist" <<EOF
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "mtu": 1500, "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "/run/cni-addresses",
   "ranges": [[{"subnet": "$POD_RANGE"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF

cat >"$run/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $STATE/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $STATE/pki/kubelet.crt
tlsPrivateKeyFile: $STATE/pki/kubelet.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: $NODE_CGROUP
failCgroupV1: false
enforceNodeAllocatable: []
failSwapOn: false
clusterDNS: [$NODE_IP]
clusterDomain: $CLUSTER_DOMAIN
# Pods add the cluster's own search names; they need none of the machine's.
resolvConf: $run/resolv.conf.empty
# Images come from no registry: one that was collected is gone.
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
syncFrequency: 10s
volumeStatsAggPeriod: 10s
shutdownGracePeriod: 0s
EOF

cat >"$run/Corefile" <<EOF
$CLUSTER_DOMAIN:53 in-addr.arpa:53 {
    bind $NODE_IP
    errors
    kubernetes $CLUSTER_DOMAIN in-addr.arpa {
        kubeconfig $STATE/pki/coredns.conf
        ttl 2
    }
}
# Nothing leaves the machine: every other name does not exist.
.:53 {
    bind $NODE_IP
    template ANY ANY . {
        rcode NXDOMAIN
    }
}
EOF

# ---- the programs

# start NAME COMMAND... : nothing that is read by a program comes from the terminal.
start() {
    local name=$1
    shift
    printf '\n---- %s starts %s\n' "$(date +%T)" "$name" >>"$log/$name.log"
    "$@" >>"$log/$name.log" 2>&1 </dev/null &
    NAME_OF[$!]=$name
}
declare -A NAME_OF

start containerd containerd --config "$run/containerd.toml"
start etcd etcd --name "$NODE_NAME" --data-dir "$STATE/etcd" --unsafe-no-fsync --logger zap --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
start kube-apiserver "$kube/kube-apiserver" \
    --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --advertise-address="$NODE_IP" --secure-port=6443 \
    --service-cluster-ip-range="$SERVICE_RANGE" --authorization-mode=Node,RBAC --allow-privileged=true \
    --enable-admission-plugins=NodeRestriction \
    --client-ca-file="$STATE/pki/ca.crt" --tls-cert-file="$STATE/pki/apiserver.crt" --tls-private-key-file="$STATE/pki/apiserver.key" \
    --kubelet-client-certificate="$STATE/pki/apiserver-kubelet-client.crt" --kubelet-client-key="$STATE/pki/apiserver-kubelet-client.key" \
    --kubelet-certificate-authority="$STATE/pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer="https://kubernetes.default.svc.$CLUSTER_DOMAIN" \
    --service-account-key-file="$STATE/pki/service-account.pub" --service-account-signing-key-file="$STATE/pki/service-account.key"

kubectl() { "$kube/kubectl" --kubeconfig "$STATE/pki/admin.conf" "$@"; }

until_true 180 "the API server is ready (see $log/kube-apiserver.log)" kubectl get --raw /readyz

start kube-controller-manager "$kube/kube-controller-manager" --kubeconfig="$STATE/pki/controller-manager.conf" \
    --leader-elect=false --bind-address=127.0.0.1 --use-service-account-credentials=true \
    --service-account-private-key-file="$STATE/pki/service-account.key" --root-ca-file="$STATE/pki/ca.crt"
start kube-scheduler "$kube/kube-scheduler" --kubeconfig="$STATE/pki/scheduler.conf" --leader-elect=false --bind-address=127.0.0.1
start kubelet "$kube/kubelet" --config="$run/kubelet.yaml" --kubeconfig="$STATE/pki/kubelet.conf" \
    --hostname-override="$NODE_NAME" --node-ip="$NODE_IP"
# conntrack's limits belong to the whole machine and are read-only here.
start kube-proxy "$kube/kube-proxy" --kubeconfig="$STATE/pki/kube-proxy.conf" --hostname-override="$NODE_NAME" \
    --proxy-mode=iptables --cluster-cidr="$POD_RANGE" --bind-address="$NODE_IP" --conntrack-max-per-core=0 \
    --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
start coredns "$(part coredns)/coredns" -conf "$run/Corefile"

# The name server may watch what it serves.
kubectl apply --filename - >>"$log/node.log" <<EOF
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: system:coredns}
rules:
- {apiGroups: [""], resources: [endpoints, services, pods, namespaces], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: system:coredns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:coredns}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: system:coredns}]
EOF

touch "$run/started"
# A child that was handed to us by its dead parent is nobody's program; a program that ends ends the node.
while true; do
    status=0
    wait -n -p ended || status=$?
    [ -n "${ended:-}" ] || exit 1
    if [ -n "${NAME_OF[$ended]:-}" ]; then
        say "${NAME_OF[$ended]} ended with status $status; the node ends (see $log/${NAME_OF[$ended]}.log)"
        exit 1
    fi
done
