#!/bin/bash
# Secret, StorageClass and static PersistentVolume as written for upstream's driver, on a volume that the peer formatted.
. "$(dirname "$0")/lib.sh"
finish() {
    local status=$?
    end "$status"
    kubectl delete storageclass "$NS" --ignore-not-found >/dev/null
    kubectl delete pv "$NS-static" --ignore-not-found --timeout=30s >/dev/null
}
trap finish EXIT
begin
forget_volume

step "the peer formats a volume and puts a file into it"
peer format --storage s3 --bucket "$(bucket)" "$(judge_url)" upstream >"$WORK/format.log" 2>&1 ||
    { tail -n 5 "$WORK/format.log" >&2; fail "the peer did not format"; }
PEER_WRITES= with_peer 'mkdir -p "$MNT/old"; seq 100000 >"$MNT/old/numbers"'
(umask 077; printf 'redis://:%s@redis.storage:6379/%s' "$(secret redis-password)" "$DATABASE" >"$WORK/metaurl")

k create secret generic juicefs-secret --from-literal=name=upstream --from-file=metaurl="$WORK/metaurl" --from-literal=storage=s3 \
    --from-literal=bucket="$(bucket)" --from-file=access-key="$STATE/secrets/s3-access-key" --from-file=secret-key="$STATE/secrets/s3-secret-key" >/dev/null

step "a static volume with subPath reads what the peer wrote"
apply <<EOF
apiVersion: v1
kind: PersistentVolume
metadata: {name: $NS-static}
spec:
  capacity: {storage: 1Ti}
  accessModes: [ReadWriteMany]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: $NS, name: static}
  mountOptions: [cache-size=100]
  csi:
    driver: $DRIVER
    volumeHandle: $NS-static
    fsType: juicefs
    nodePublishSecretRef: {name: juicefs-secret, namespace: $NS}
    volumeAttributes: {subPath: old}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: static}
spec:
  accessModes: [ReadWriteMany]
  storageClassName: ""
  volumeName: $NS-static
  resources: {requests: {storage: 1Ti}}
EOF
bound static
running_pod static static
expect "what the peer wrote" "$(seq 100000 | sha256sum)" "$(in_pod static sha256sum /data/numbers | sed 's#/data/numbers#-#')"

step "a class with upstream's parameters and mountOptions makes volumes"
apply <<EOF
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: $NS}
provisioner: $DRIVER
reclaimPolicy: Delete
mountOptions: [cache-size=100, attr-cache=1]
parameters:
  csi.storage.k8s.io/provisioner-secret-name: juicefs-secret
  csi.storage.k8s.io/provisioner-secret-namespace: $NS
  csi.storage.k8s.io/node-publish-secret-name: juicefs-secret
  csi.storage.k8s.io/node-publish-secret-namespace: $NS
  juicefs/mount-memory-limit: 1Gi
EOF
claim dynamic
bound dynamic
running_pod dynamic dynamic
in_pod dynamic bash -c 'seq 1000 >/data/numbers; sync -f /data'
directory=$(directory_of dynamic)
[ -n "$directory" ] || directory=$(pv_of dynamic)
expect "what the peer reads of it" "$(seq 1000 | sha256sum)" "$(with_peer 'sha256sum <"$MNT/$1/numbers"' "$directory")"

step "a static volume's data stays when its claim goes"
k delete pod static --timeout=60s >/dev/null
k delete pvc static --timeout=60s >/dev/null
with_peer 'test -s "$MNT/old/numbers"' || fail "the static volume's data is gone"
