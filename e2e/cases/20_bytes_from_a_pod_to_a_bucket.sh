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
one=$(directory_of one)
[ -n "$one" ] || one=$(pv_of one)

step "a pod writes 200 MiB and a tree"
running_pod writer one
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
expect "what the other claim has" "" "$(in_pod stranger find /data -mindepth 1 ! -path /data/.stats ! -path /data/.config)"
in_pod stranger bash -c 'echo mine >/data/mine'

step "a third pod on the first claim sees all of it, and both see what the other does next"
running_pod reader one
expect "the digest in the second pod" "$written" "$(digest_in_pod reader /data)"
in_pod reader bash -c 'echo from the reader >/data/note'
sees() { [ "$(in_pod writer cat /data/note)" = "from the reader" ]; }
until_true 5 "the writer sees what the reader wrote" sees
in_pod writer rm /data/note
sees_not() { in_pod reader test ! -e /data/note; }
until_true 5 "the reader sees that it is gone" sees_not

step "mount pods are not privileged and run as nobody's root"
pods=$(mount_pods)
[ -n "$pods" ] || fail "there is no mount pod"
while IFS=/ read -r namespace name; do
    spec=$(kubectl --namespace "$namespace" get pod "$name" --output=json)
    jq -e '[.spec.containers[].securityContext | (.privileged // false) == false and .allowPrivilegeEscalation == false
            and (.capabilities.drop | index("ALL") != null) and ((.capabilities.add // []) == [])] | all' <<<"$spec" >/dev/null ||
        fail "the mount pod $name may too much: $(jq -c '[.spec.containers[].securityContext]' <<<"$spec")"
    expect "the user of $name" 65532 "$(jq -r '[.spec.securityContext.runAsUser, .spec.containers[].securityContext.runAsUser] | map(select(. != null)) | unique | join(" ")' <<<"$spec")"
    expect "host namespaces of $name" "false false false" "$(jq -r '[.spec.hostPID // false, .spec.hostIPC // false, .spec.hostNetwork // false] | join(" ")' <<<"$spec")"
done <<<"$pods"

step "pods that come again find their data"
k delete pod writer reader --timeout=60s >/dev/null
running_pod writer one
expect "the digest after a restart" "$written" "$(digest_in_pod writer /data)"

step "the peer finds the same bytes under the directory of the volume"
by_peer=$(with_peer "set -- \"\$MNT/\$1\"; $TREE_DIGEST" "$one")
expect "the digest, as the peer reads it" "$written" "$by_peer"

step "a deleted claim takes its directory into the trash and its mount pod away"
pv=$(pv_of one)
k delete pod writer --timeout=60s >/dev/null
k delete pvc one --timeout=60s >/dev/null
no_pv() { ! kubectl get pv "$pv"; }
until_true 90 "the PersistentVolume is gone" no_pv
in_trash() {
    # The trash is one directory an hour; names there are parent-inode-name.
    with_peer 'test ! -e "$MNT/$1"; find "$MNT/.trash" -name "*-big" -size +199M | grep -q .' "$one"
}
until_true 90 "the directory is gone and its files are in the trash" in_trash
used=$(k get pod stranger --output=jsonpath='{.spec.nodeName}')
expect "where the other pod runs" "$NODE_NAME" "$used"
expect "what the other claim has now" mine "$(in_pod stranger cat /data/mine)"

step "with the last claim the mount pod goes"
k delete pod stranger --timeout=60s >/dev/null
k delete pvc two --timeout=60s >/dev/null
none() { [ -z "$(mount_pods)" ]; }
until_true 120 "no mount pod is left" none
no_mounts() { ! in_node grep -q fuse.juicefs /proc/mounts; }
until_true 30 "no mount is left on the node" no_mounts

step "deleting the FileSystem leaves the volume"
before=$(redis get setting)
k delete jfs data --timeout=60s >/dev/null
expect "the setting" "$before" "$(redis get setting)"
peer status "$(judge_url)" >/dev/null 2>&1 || fail "the peer cannot read the volume after the FileSystem is gone"
