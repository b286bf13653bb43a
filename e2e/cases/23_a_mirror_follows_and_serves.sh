#!/bin/bash
# A FileSystem in one namespace, a Mirror of it in another namespace and database, both by `kubectl apply`. Claims on the
# mirror bind where the directory is there, wait with a reason where it is not, and bind when it has arrived.
. "$(dirname "$0")/lib.sh"
SOURCE_NS=$NS-source
MIRROR_DATABASE=9
in_source() { local NS=$SOURCE_NS; "$@"; }
in_mirror() { local DATABASE=$MIRROR_DATABASE; "$@"; }
finish() {
    local status=$?
    kubectl delete pv "$NS-static" --ignore-not-found --wait=false >/dev/null || true
    end "$status"
    in_source clear_namespace
}
trap finish EXIT
kubectl get namespace "$SOURCE_NS" >/dev/null
begin
in_source clear_namespace
forget_volume
in_mirror forget_volume

step "both are applied at once; the mirror waits until its source is there"
k create secret generic meta --from-file=password="$STATE/secrets/redis-password" >/dev/null
in_source storage_secrets
apply <<END
apiVersion: juicefs.rs/v1alpha1
kind: Mirror
metadata: {name: data-eu}
spec:
  sourceRef: {fileSystemRef: {name: data, namespace: $SOURCE_NS}}
  meta: {engine: redis, url: "$(in_mirror meta_url)", secretRef: {name: meta, key: password}}
  objectStorage: {shared: {}}
  sync: {maxLag: 30s}
  storageClasses:
  - {name: $NS-mirror, pathPattern: "\${.pvc.annotations.path}"}
  - {name: $NS-coerced, pathPattern: "\${.pvc.annotations.path}", parameters: {juicefs.rs/mirror-access: coerce}}
END
of_mirror() { k get jfsm data-eu --output=jsonpath="{.status.conditions[?(@.type==\"$1\")].$2}"; }
waits_for_source() { [ "$(of_mirror Ready reason)" = SourceMissing ]; }
until_true 30 "the mirror says that its source is missing" waits_for_source
in_source apply <<END
apiVersion: juicefs.rs/v1alpha1
kind: FileSystem
metadata: {name: data}
spec:
  meta: {engine: redis, url: "$(meta_url)", secretRef: {name: meta, key: password}}
  storage: {type: s3, bucket: "$(bucket)", secretRef: {name: s3}}
  format: {trashDays: 1, changeLog: true}
  storageClasses: [{name: $NS-source, pathPattern: "shared/\${.PVC.name}"}]
END
in_source k wait --for=condition=Ready jfs/data --timeout=120s >/dev/null

step "a namespace that the source does not allow gets no mirror"
refused() { [[ $(of_mirror Ready message) == *"may not be named from namespace $NS"* ]]; }
until_true 30 "the condition names allowedNamespaces" refused
in_source k patch jfs data --type=merge --patch "{\"spec\":{\"allowedNamespaces\":[\"$NS\"]}}" >/dev/null
k wait --for=condition=Ready jfsm/data-eu --timeout=90s >/dev/null || { k get jfsm data-eu -o yaml >&2; k logs deployment/data-eu-follower --tail=20 >&2; fail "the mirror is not Ready"; }
for kind in Bootstrapped SourceReachable Following CaughtUp SecretExported StorageClassesReady; do
    is_true() { [ "$(of_mirror "$1" status)" = True ]; }
    until_true 30 "the condition $kind" is_true $kind
done
expect "UUID of the source" "$(in_source k get jfs data -o jsonpath='{.status.uuid}')" "$(k get jfsm data-eu -o jsonpath='{.status.sourceUUID}')"
expect_in "the printed row" Following "$(k get jfsm data-eu --no-headers)"
for reason in Copied Ready; do expect_in "the Event $reason" "Normal: " "$(told Mirror data-eu $reason)"; done

step "a second mirror has a bucket of its own"
in_second() { local DATABASE=8; "$@"; }
in_second forget_volume
k create secret generic s3 --from-file=access-key="$STATE/secrets/s3-access-key" --from-file=secret-key="$STATE/secrets/s3-secret-key" >/dev/null
apply <<END
apiVersion: juicefs.rs/v1alpha1
kind: Mirror
metadata: {name: data-us}
spec:
  sourceRef: {fileSystemRef: {name: data, namespace: $SOURCE_NS}}
  meta: {engine: redis, url: "$(in_second meta_url)", secretRef: {name: meta, key: password}}
  objectStorage: {dedicated: {type: s3, bucket: "$(bucket)-us", secretRef: {name: s3}, sourceSecretRef: {name: s3}, dataFirst: true}}
  storageClasses: [{name: $NS-us, pathPattern: "\${.pvc.annotations.path}"}]
END
k wait --for=condition=Ready jfsm/data-us --timeout=90s >/dev/null || { k get jfsm data-us -o yaml >&2; k logs deployment/data-us-follower --tail=20 >&2; fail "the second mirror is not Ready"; }

step "a claim on a directory that is there binds, and its pod reads what is written at the source"
claim books "$NS-source"
bound books
running_pod writer books
in_pod writer bash -c 'seq 200000 >/data/numbers; sync -f /data'
claim near "$NS-mirror" ReadOnlyMany "" "path: shared/books"
bound near
expect "where the volume is" "shared/books" "$(directory_of near)"
pod static-reader static
running_pod reader near
same() { [ "$(in_pod reader sha256sum /data/numbers 2>/dev/null | cut -d' ' -f1)" = "$(seq 200000 | sha256sum | cut -d' ' -f1)" ]; }
until_true 20 "the reader on the mirror has the bytes" same
in_pod writer bash -c 'echo news >/data/news; sync -f /data'
has_news() { [ "$(in_pod reader cat /data/news 2>/dev/null)" = news ]; }
until_true 20 "the reader sees what was written after it was mounted" has_news
if in_pod reader touch /data/mine 2>"$WORK/refused"; then fail "a pod wrote to a mirror"; fi
expect_in "what a writer is told" "Read-only file system" "$(cat "$WORK/refused")"

step "a claim on a missing directory waits with a reason, and binds when the directory has arrived"
claim late-near "$NS-mirror" ReadOnlyMany "" "path: shared/late"
expect_in "the reason" "directory shared/late is not in mirror data-eu (it has applied version" "$(told PersistentVolumeClaim late-near ProvisioningFailed 30)"
expect "its phase" Pending "$(k get pvc late-near -o jsonpath='{.status.phase}')"
with_peer 'test -d "$MNT/shared/books" && test ! -e "$MNT/shared/late"' || fail "something was made at the source"
claim late "$NS-source"
bound late
bound late-near

step "writers, empty paths and paths that leave are refused; coerced ones read"
claim writes "$NS-mirror" ReadWriteMany "" "path: shared/books"
claim empty "$NS-mirror" ReadOnlyMany
claim leaves "$NS-mirror" ReadOnlyMany "" "path: shared/../.."
claim coerced "$NS-coerced" ReadWriteMany "" "path: shared/books"
expect_in "what a writer is told" "data-eu is a mirror and can only be read" "$(told PersistentVolumeClaim writes ProvisioningFailed 30)"
expect_in "what an empty path is told" "is empty" "$(told PersistentVolumeClaim empty ProvisioningFailed 30)"
expect_in "what a path with .. is told" "has .." "$(told PersistentVolumeClaim leaves ProvisioningFailed 30)"
bound coerced

step "a static volume on a missing directory fails with an Event, and comes up when the directory has arrived"
apply <<END
apiVersion: v1
kind: PersistentVolume
metadata: {name: $NS-static}
spec:
  capacity: {storage: 1Ti}
  accessModes: [ReadOnlyMany]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: $NS, name: static}
  csi:
    driver: $DRIVER
    volumeHandle: $NS-static
    fsType: juicefs
    nodePublishSecretRef: {name: data-eu-csi, namespace: $NS}
    volumeAttributes: {subPath: shared/static}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: static}
spec: {accessModes: [ReadOnlyMany], storageClassName: "", volumeName: $NS-static, resources: {requests: {storage: 1Ti}}}
END
expect_in "the Event" "directory shared/static is not in mirror data-eu" "$(told Pod static-reader MountFailed 60)"

step "deleting a claim on the mirror touches nothing"
k delete pod reader --timeout=60s >/dev/null
near=$(pv_of near)
k delete pvc near --timeout=60s >/dev/null
pv_is_gone() { ! kubectl get pv "$1" >/dev/null 2>&1; }
until_true 60 "the volume of the claim is gone" pv_is_gone "$near"
expect "what the source has" "200000" "$(in_pod writer tail -n 1 /data/numbers)"

step "the second mirror is promoted: then it is a volume that pods write to"
in_pod writer bash -c 'echo last >/data/last; sync -f /data'
k delete pod writer coerced-reader --ignore-not-found --timeout=60s >/dev/null
k patch jfsm data-us --type=merge --patch '{"spec":{"promotion":{"requested":true}}}' >/dev/null
k wait --for=condition=Promoted jfsm/data-us --timeout=150s >/dev/null || { k get jfsm data-us -o yaml >&2; k describe job data-us-promote >&2; fail "the mirror is not promoted"; }
expect_in "what is told of it" "nothing of its source is lost" "$(k get jfsm data-us --output=jsonpath='{.status.conditions[?(@.type=="Promoted")].message}')"
expect_in "the printed row" Promoted "$(k get jfsm data-us --no-headers)"
if k patch jfsm data-us --type=merge --patch '{"spec":{"promotion":{"requested":false}}}' >"$WORK/refused" 2>&1; then fail "a promotion was taken back"; fi
expect_in "what taking it back is told" "cannot be taken back" "$(cat "$WORK/refused")"
claim us "$NS-us" ReadWriteMany "" "path: shared/books"
bound us
running_pod us us
expect "what it has" "200000 last" "$(in_pod us bash -c 'echo "$(tail -n 1 /data/numbers) $(cat /data/last)"')"
in_pod us bash -c 'echo mine >/data/mine && sync -f /data'
in_second with_peer 'test "$(cat "$MNT/shared/books/mine")" = mine' || fail "the peer does not read what was written after the promotion"
k delete pod us --timeout=60s >/dev/null
k delete pvc us --timeout=60s >/dev/null

step "the mirror goes with its follower, Secrets and classes; its database and the source stay"
k delete pods static-reader --force --grace-period=0 >/dev/null 2>&1
k delete pvc --all --timeout=60s --wait=false >/dev/null
volumes_are_gone() { ! kubectl get pv -o json | jq -e --arg ns "$NS" '.items[] | select(.spec.claimRef.namespace == $ns and .spec.storageClassName == ($ns + "-mirror"))' >/dev/null; }
until_true 60 "the volumes on the mirror are gone" volumes_are_gone
k delete jfsm data-eu --timeout=60s >/dev/null
for object in "deployment data-eu-follower" "secret data-eu-follower" "secret data-eu-csi" "storageclass $NS-mirror"; do
    is_gone() { ! k get $1 >/dev/null 2>&1; }
    until_true 30 "the $object is gone" is_gone "$object"
done
[ -n "$(in_mirror redis get setting)" ] || fail "the mirror's database was emptied"
expect_in "the Event of the end" "stays as it is" "$(told Mirror data-eu Retained)"
expect "the source" True "$(in_source condition data Ready status)"
