#!/bin/bash
# The whole line: a claim binds, a pod writes 200 MiB and a tree, others see what they should and nothing else, the bytes
# survive restarts, the peer finds the same bytes, and what is deleted is in the trash with nothing left running for it.
. "$(dirname "$0")/lib.sh"
trap end EXIT
begin
ready_file_system data

step "two claims of one class bind"
claim one
claim two "$NS" ReadWriteOnce
bound one
bound two
pv=$(pv_of one)
one=$(directory_of one)
expect "the directory of a volume" "$pv" "$one"
expect "nobody is told that the capacity is not enforced" "" "$(k get events --field-selector reason=CapacityNotEnforced --output=name)"

step "a pod writes 200 MiB and a tree"
running_pod writer one
expect "the size of the file system is the claim's capacity" 1073741824 \
    "$(in_pod writer df --block-size=1 --output=size /data | tail -1 | tr -d ' ')"
expect "what is mounted" fuse.juicefs "$(in_pod writer awk '$2 == "/data" { print $3 }' /proc/mounts)"
in_pod writer bash -euc '
    cd /data
    dd if=/dev/urandom of=big bs=1M count=200 status=none conv=fsync
    mkdir -p tree
    for d in $(seq 20); do
        mkdir "tree/d$d"
        for f in $(seq 25); do echo "$d/$f" >"tree/d$d/f$f"; done
    done
    ln -s ../big tree/link
    ln tree/d1/f1 tree/hard
    chmod 600 tree/d2/f2
    mv tree/d3 tree/renamed
    rm -r tree/d4
    truncate -s 1000000 tree/sparse
    printf x | dd of=tree/sparse bs=1 seek=999999 conv=notrunc status=none
    sync -f .'
written=$(digest_in_pod writer /data)

step "a second claim of the same class sees none of it"
running_pod stranger two
expect "what the other claim has" "" "$(in_pod stranger find /data -mindepth 1 ! -path /data/.stats ! -path /data/.config ! -path /data/.accesslog)"
in_pod stranger bash -c 'echo mine >/data/mine'

step "a claim is full at its capacity and grows, in use and before it was ever mounted"
if in_pod writer truncate -s 1500M /data/large 2>"$WORK/refused"; then fail "a claim of 1 GiB holds 1500 MiB"; fi
expect_in "what a pod is told" "Disk quota exceeded" "$(cat "$WORK/refused")"
claim three
bound three
for name in one three; do k patch pvc "$name" --type=merge --patch '{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}' >/dev/null; done
for name in one three; do
    k wait --for=jsonpath='{.status.capacity.storage}'=2Gi "pvc/$name" --timeout=60s >/dev/null || { k describe pvc "$name" >&2; fail "the claim $name does not grow"; }
    expect_in "the quota of $name, as the peer knows it" "2.0 GiB" "$(peer quota get "$(judge_url)" --path "/$(directory_of "$name")" 2>/dev/null)"
done
k delete pvc three --timeout=60s >/dev/null
larger() { in_pod writer truncate -s 1500M /data/large; }
until_true 30 "the pod may write more" larger
expect "the size of the file system" 2147483648 "$(in_pod writer df --block-size=1 --output=size /data | tail -1 | tr -d ' ')"
in_pod writer rm /data/large

step "a third pod on the first claim sees all of it, and both see what the other does next"
running_pod reader one
expect "the digest in the second pod" "$written" "$(digest_in_pod reader /data)"
in_pod reader bash -c 'echo from the reader >/data/note'
sees() { [ "$(in_pod writer cat /data/note)" = "from the reader" ]; }
until_true 5 "the writer sees what the reader wrote" sees
in_pod writer rm /data/note
sees_not() { in_pod reader test ! -e /data/note; }
until_true 5 "the reader sees that it is gone" sees_not

step "the volume's record is in the file system, for nobody but the driver"
record=$(with_peer 'stat -c "%a %u" "$MNT/.juicefs-csi" >&2; readlink "$MNT/.juicefs-csi/volumes/$1"' "$pv" 2>"$WORK/records")
expect "mode and owner of the records" "700 0" "$(cat "$WORK/records")"
expect "the record" "$one 2147483648 $(kubectl get namespace kube-system --output=jsonpath='{.metadata.uid}') true" \
    "$(jq -r '[.path, .capacity, .cluster, .inode > 1] | join(" ")' <<<"$record")"

step "the kubelet knows what the volume uses"
used() {
    kubectl get --raw "/api/v1/nodes/$NODE_NAME/proxy/stats/summary" |
        jq -e --arg namespace "$NS" '[.pods[].volume[]? | select(.pvcRef.name == "one" and .pvcRef.namespace == $namespace) | .usedBytes] | max >= 200 * 1048576'
}
until_true 60 "the kubelet has the volume's statistics" used

step "mount pods are not privileged and run as nobody's root"
pods=$(mount_pods)
expect "the number of mount pods, one a volume" 2 "$(wc -l <<<"$pods")"
while IFS=/ read -r namespace name; do
    spec=$(kubectl --namespace "$namespace" get pod "$name" --output=json)
    jq -e '[.spec.containers[].securityContext | (.privileged // false) == false and .allowPrivilegeEscalation == false
            and .readOnlyRootFilesystem == true and .seccompProfile.type == "RuntimeDefault"
            and (.capabilities.drop | index("ALL") != null) and ((.capabilities.add // []) == [])] | all' <<<"$spec" >/dev/null ||
        fail "the mount pod $name may too much: $(jq -c '[.spec.containers[].securityContext]' <<<"$spec")"
    expect "the user of $name" 65532 "$(jq -r '[.spec.securityContext.runAsUser, .spec.containers[].securityContext.runAsUser] | map(select(. != null)) | unique | join(" ")' <<<"$spec")"
    expect "host namespaces of $name" "false false false" "$(jq -r '[.spec.hostPID // false, .spec.hostIPC // false, .spec.hostNetwork // false] | join(" ")' <<<"$spec")"
    expect "environment, token and volumes of $name" "0 false emptyDir hostPath" "$(jq -r '[([.spec.containers[].env // []] | add | length),
        .spec.automountServiceAccountToken, (.spec.volumes[] | keys[] | select(. != "name"))] | join(" ")' <<<"$spec")"
    process=$(process_of "$(jq -r '.metadata.uid' <<<"$spec")" juicefs)
    expect "user, capabilities and locks of the process of $name" "65532 0000000000000000 0000000000000000 1 2" "$(in_node awk '
        $1 == "Uid:" { uid = $2 } $1 == "CapEff:" { effective = $2 } $1 == "CapBnd:" { bounding = $2 }
        $1 == "NoNewPrivs:" { locked = $2 } $1 == "Seccomp:" { print uid, effective, bounding, locked, $2 }' "/proc/$process/status")"
    if in_node nsenter -t "$process" -m -- touch /written 2>/dev/null; then fail "the root of $name can be written"; fi
done <<<"$pods"
uuid=$(k get jfs data --output=jsonpath='{.status.uuid}')
expect "the cache on the node" "700 65532 directory" "$(in_node stat -c '%a %u %F' "/var/jfsCache/$uuid")"

step "one of two pods goes, and the other keeps its volume"
k delete pod reader --timeout=60s >/dev/null
expect "the digest with one pod gone" "$written" "$(digest_in_pod writer /data)"
expect "mount pods with one pod gone" "$pods" "$(mount_pods)"

step "a container that starts again finds its data"
in_node kill -KILL "$(process_of "$(k get pod writer --output=jsonpath='{.metadata.uid}')" sleep)"
restarted() { [ "$(k get pod writer --output=jsonpath='{.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}')" = "1 true" ]; }
until_true 60 "the container runs again" restarted
expect "the digest in a container that started again" "$written" "$(digest_in_pod writer /data)"

step "pods that come again find their data"
k delete pod writer --timeout=60s >/dev/null
running_pod writer one
expect "the digest after a restart" "$written" "$(digest_in_pod writer /data)"

step "the peer finds the same bytes under the directory of the volume"
by_peer=$(with_peer "set -- \"\$MNT/\$1\"; $TREE_DIGEST" "$one")
expect "the digest, as the peer reads it" "$written" "$by_peer"

step "a deleted claim takes its directory into the trash and its mount pod away"
k delete pod writer --timeout=60s >/dev/null
none_for_one() { [ -z "$(mount_pods "volume-id=$pv")" ]; }
until_true 60 "the mount pod of the first claim is gone" none_for_one
k delete pvc one --timeout=60s >/dev/null
no_pv() { ! kubectl get pv "$pv"; }
until_true 90 "the PersistentVolume is gone" no_pv
in_trash() {
    # The trash is one directory an hour; names there are parent-inode-name.
    with_peer 'test ! -e "$MNT/$1"; find "$MNT/.trash" -name "*-big" -size +199M | grep -q .' "$one"
}
until_true 90 "the directory is gone and its files are in the trash" in_trash
expect "the record of the volume that is gone, and what waits" "" "$(with_peer 'find "$MNT/.juicefs-csi" -name "$1*"' "$pv")"
expect "what the other claim has now" mine "$(in_pod stranger cat /data/mine)"
expect "mount pods now" 1 "$(mount_pods | wc -l)"

step "with the last claim the mount pod goes"
k delete pod stranger --timeout=60s >/dev/null
none() { [ -z "$(mount_pods)" ]; }
until_true 120 "no mount pod is left" none
no_mounts() { ! in_node grep -q fuse.juicefs /proc/mounts; }
until_true 30 "no mount is left on the node" no_mounts

step "the peer finds nothing wrong with any of it"
peer fsck "$(judge_url)" >"$WORK/fsck" 2>&1 || { tail -n 10 "$WORK/fsck" >&2; fail "the peer's fsck"; }
peer fsck --path / --recursive --sync-dir-stat "$(judge_url)" >"$WORK/fsck-meta" 2>&1 || { tail -n 10 "$WORK/fsck-meta" >&2; fail "the peer's fsck of the tree"; }
if grep -i "should be\|lost\|broken" "$WORK/fsck" "$WORK/fsck-meta" >&2; then fail "the peer's fsck found something"; fi

step "deleting the FileSystem leaves the volume"
two=$(directory_of two)
kubectl patch pv "$(pv_of two)" --type=merge --patch '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}' >/dev/null
before=$(redis get setting)
k delete jfs data --timeout=60s >/dev/null
[ "$(redis get setting)" = "$before" ] || fail "the volume's setting was changed with its FileSystem"
expect "what the peer reads after it" mine "$(with_peer 'cat "$MNT/$1/mine"' "$two")"
pv=$(pv_of two)
k delete pvc two --timeout=60s >/dev/null
kubectl delete pv "$pv" --timeout=30s >/dev/null
