#!/bin/bash
# Secret, StorageClass and static PersistentVolume as written for upstream's driver, on a volume that the peer formatted.
. "$(dirname "$0")/lib.sh"
finish() {
    local status=$?
    end "$status"
    kubectl delete storageclass,pv --selector "e2e=$NS" --ignore-not-found --timeout=60s >/dev/null
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

# static NAME OPTIONS ATTRIBUTES : a PersistentVolume written by hand, and its claim.
static() {
    apply <<END
apiVersion: v1
kind: PersistentVolume
metadata: {name: $NS-$1, labels: {e2e: $NS}}
spec:
  capacity: {storage: 1Ti}
  accessModes: [ReadWriteMany]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: $NS, name: $1}
  mountOptions: [$2]
  csi:
    driver: $DRIVER
    volumeHandle: $NS-$1
    fsType: juicefs
    nodePublishSecretRef: {name: juicefs-secret, namespace: $NS}
    volumeAttributes: {$3}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: $1}
spec: {accessModes: [ReadWriteMany], storageClassName: "", volumeName: $NS-$1, resources: {requests: {storage: 1Ti}}}
END
    bound "$1"
}

# class NAME PARAMETER : a StorageClass as upstream's users write it.
class() {
    kubectl apply --filename - >/dev/null <<END
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: $1, labels: {e2e: $NS}}
provisioner: $DRIVER
reclaimPolicy: Delete
mountOptions: [cache-size=100, attr-cache=1, "subdir=tenants/\${.PVC.namespace}"]
parameters:
  csi.storage.k8s.io/provisioner-secret-name: juicefs-secret
  csi.storage.k8s.io/provisioner-secret-namespace: $NS
  csi.storage.k8s.io/node-publish-secret-name: juicefs-secret
  csi.storage.k8s.io/node-publish-secret-namespace: $NS
  $2
END
}

step "a class with upstream's parameters, words and mountOptions makes volumes; a typo in one makes none"
class "$NS" 'juicefs/mount-memory-limit: 1Gi'
class "$NS-shared" 'pathPattern: "by-team/${.pvc.labels.team}"'
class "$NS-typo" 'pathPatern: x'
claim dynamic "$NS" ReadWriteMany "" 'juicefs/mount-cpu-limit: 1500m'
claim shared-1 "$NS-shared" ReadWriteMany "team: red"
claim typo "$NS-typo"
pod dynamic dynamic
static static "cache-size=100" "subPath: old"
static root "noexec, no-such-option=1" 'noSuchAttribute: "1"'
pod static static
pod looker static true
pod root root
expect_in "what a typo in a class is told" "not known: parameter pathPatern" "$(told PersistentVolumeClaim typo ProvisioningFailed 60)"

step "a static volume with subPath reads what the peer wrote"
running_pod static static
expect "what the peer wrote" "$(seq 100000 | sha256sum)" "$(in_pod static sha256sum /data/numbers | sed 's#/data/numbers#-#')"

step "a pod that only reads takes nothing from one that writes"
running_pod looker static true
in_pod static bash -c 'echo written >/data/by-static; sync -f /data'
expect "what the reader sees" written "$(in_pod looker cat /data/by-static)"
if in_pod looker touch /data/by-looker 2>"$WORK/refused"; then fail "a read-only pod could write"; fi
expect_in "what the reader is told" "Read-only file system" "$(cat "$WORK/refused")"

step "the whole file system: mount options hold, what is not known is told, the driver's records are out of sight"
running_pod root root
in_pod root bash -c 'cp /bin/true /data/true && chmod 755 /data/true'
if in_pod root /data/true 2>/dev/null; then fail "noexec did not hold"; fi
expect_in "what is told of unknown settings" "not known: parameter noSuchAttribute, mount option no-such-option" "$(told Pod root SettingIgnored)"
if in_pod root ls -ad /data/.juicefs-csi 2>/dev/null; then fail "a pod sees the driver's records"; fi
if in_pod root bash -c 'ls -a /data | grep -q juicefs-csi'; then fail "a pod finds the driver's records in a listing"; fi
if in_pod root mkdir /data/.juicefs-csi 2>/dev/null; then fail "a pod can make the driver's records"; fi

step "the class's options and the claim's annotations reach the mount"
bound dynamic
running_pod dynamic dynamic
in_pod dynamic bash -c 'seq 1000 >/data/numbers; sync -f /data'
dynamic=$(pv_of dynamic)
expect "what the peer reads of it" "$(seq 1000 | sha256sum)" "$(with_peer 'sha256sum <"$MNT/tenants/$1/$2/numbers"' "$NS" "$dynamic")"
expect "limits of the mount pod" "1500m 1Gi" "$(kubectl get pods --all-namespaces --selector "app.kubernetes.io/name=juicefs-mount,volume-id=$dynamic" \
    --output=jsonpath='{.items[0].spec.containers[0].resources.limits.cpu} {.items[0].spec.containers[0].resources.limits.memory}')"

address=$(kubectl get pods --all-namespaces --selector "app.kubernetes.io/name=juicefs-mount,volume-id=$dynamic" --output=jsonpath='{.items[0].status.podIP}')
expect_in "the mount pod's metrics" 'juicefs_uptime{' "$(in_pod dynamic timeout 5 bash -c "exec 3<>/dev/tcp/$address/9567; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; cat <&3")"

step "a directory that volumes share goes with the last of them; one that was there before stays"
bound shared-1
PEER_WRITES= with_peer 'mkdir -p "$MNT/tenants/$1/by-team/green"; echo before >"$MNT/tenants/$1/by-team/green/file"; echo red >"$MNT/tenants/$1/by-team/red/file"' "$NS"
claim shared-2 "$NS-shared" ReadWriteMany "team: red"
claim there "$NS-shared" ReadWriteMany "team: green"
bound shared-2
bound there
expect_in "what is told of a directory that was there before" "was there before any volume" "$(told PersistentVolumeClaim there CapacityNotEnforced)"
deleted() { # CLAIM : the claim and its volume go
    local pv
    pv=$(pv_of "$1")
    k delete pvc "$1" --timeout=60s >/dev/null
    pv_is_gone() { ! kubectl get pv "$1" >/dev/null 2>&1; }
    until_true 60 "the volume of $1 is gone" pv_is_gone "$pv"
}
deleted shared-1
deleted there
expect "what is left when one of two is deleted" "red before" "$(with_peer 'cd "$MNT/tenants/$1/by-team"; echo "$(cat red/file) $(cat green/file)"' "$NS")"
deleted shared-2
is_empty() { with_peer 'test ! -e "$MNT/tenants/$1/by-team/red" && test -z "$(ls -A "$MNT/.juicefs-csi/deleted")"' "$NS"; }
until_true 60 "the shared directory is gone with its last volume" is_empty
with_peer 'test -s "$MNT/tenants/$1/by-team/green/file"' "$NS" || fail "a directory that was there before its volume is gone"

step "a volume that upstream's driver made, without a record of ours, is taken over and deleted as asked"
PEER_WRITES= with_peer 'mkdir "$MNT/pvc-upstream"; echo upstream >"$MNT/pvc-upstream/upstreams-file"'
kubectl apply --filename - >/dev/null <<END
apiVersion: v1
kind: PersistentVolume
metadata: {name: pvc-upstream, labels: {e2e: $NS}, annotations: {pv.kubernetes.io/provisioned-by: $DRIVER}}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteMany]
  persistentVolumeReclaimPolicy: Delete
  storageClassName: $NS
  claimRef: {namespace: $NS, name: upstream}
  csi:
    driver: $DRIVER
    volumeHandle: pvc-upstream
    fsType: juicefs
    nodePublishSecretRef: {name: juicefs-secret, namespace: $NS}
    volumeAttributes: {subPath: pvc-upstream, capacity: "1073741824", storage.kubernetes.io/csiProvisionerIdentity: csi.juicefs.com}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: upstream, namespace: $NS, annotations: {volume.kubernetes.io/storage-provisioner: $DRIVER}}
spec: {accessModes: [ReadWriteMany], storageClassName: $NS, volumeName: pvc-upstream, resources: {requests: {storage: 1Gi}}}
END
bound upstream
running_pod upstream upstream
expect "what upstream's users had" upstream "$(in_pod upstream cat /data/upstreams-file)"
k delete pod upstream --timeout=60s >/dev/null
deleted upstream
in_trash() { with_peer 'test ! -e "$MNT/pvc-upstream"; find "$MNT/.trash" -name "*-upstreams-file" | grep -q .'; }
until_true 60 "its directory is gone and its file is in the trash" in_trash

step "a static volume's data stays when its claim goes"
k delete pod static looker root --timeout=60s >/dev/null
k delete pvc static --timeout=60s >/dev/null
with_peer 'test -s "$MNT/old/numbers"' || fail "the static volume's data is gone"
