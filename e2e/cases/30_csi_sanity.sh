#!/bin/bash
# csi-sanity, the conformance suite of CSI, against the controller and the node plugin as they run in the cluster.
. "$(dirname "$0")/lib.sh"
trap end EXIT
begin
ready_file_system data

step "the sockets"
socket_of() { # POD CONTAINER-VOLUME-PATTERN : where the node sees a pod's CSI socket
    local uid
    uid=$(kubectl --namespace "$CHART_NAMESPACE" get pod "$1" --output=jsonpath='{.metadata.uid}')
    in_node find "/var/lib/kubelet/pods/$uid/volumes/kubernetes.io~empty-dir" -name '*.sock' -path '*csi*' | head -n 1
}
controller_pod=$(kubectl --namespace "$CHART_NAMESPACE" get pods --output=json |
    jq -r 'first(.items[] | select(any(.spec.containers[]; .image | contains("csi-provisioner")))).metadata.name')
controller=$(socket_of "$controller_pod")
[ -n "$controller" ] || fail "the controller $controller_pod has no CSI socket in an emptyDir"
node=$(in_node find /var/lib/kubelet -maxdepth 3 -name csi.sock -path "*$DRIVER*" | head -n 1)
[ -n "$node" ] || fail "the node plugin has no socket under the kubelet's folder"

step "the secrets that a sidecar and the kubelet would send"
(
    umask 077
    for call in CreateVolume DeleteVolume ControllerPublishVolume ControllerUnpublishVolume ControllerValidateVolumeCapabilities NodeStageVolume NodePublishVolume \
        CreateSnapshot DeleteSnapshot ControllerExpandVolume ListSnapshots; do
        printf '%sSecret:\n' "$call"
        for key in name metaurl storage bucket access-key secret-key; do
            printf '  %s: "%s"\n' "$key" "$(k get secret data-csi --output=jsonpath="{.data.$key}" | base64 -d)"
        done
    done >"$WORK/secrets.yaml"
)

step "the suite"
# Targets are under the kubelet's folder: the only tree in which mounts of the plugin are seen outside of its pod.
folder=/var/lib/kubelet/plugins/$DRIVER/sanity
# An earlier run that failed may have left some.
in_node bash -c 'while read -r mounted; do umount -l "$mounted"; done < <(awk -v at="$1/" "index(\$5, at) == 1 { print \$5 }" /proc/self/mountinfo)
    rm -rf --one-file-system "$1"; mkdir -p "$1"' clean "$folder"
in_node "$(part tools)/csi-sanity" --csi.endpoint="unix://$node" --csi.controllerendpoint="unix://$controller" \
    --csi.mountdir="$folder/mount" --csi.stagingdir="$folder/staging" --csi.secrets="$WORK/secrets.yaml" \
    --csi.testvolumesize=1073741824 --ginkgo.no-color --ginkgo.poll-progress-after=30s >"$WORK/sanity.txt" 2>&1 || {
    grep -E '^\s*\[(FAIL|PANICKED)|^(Ran|FAIL!)' "$WORK/sanity.txt" | sort -u >&2
    fail "csi-sanity; its whole output is $WORK/sanity.txt"
}
grep -E '^Ran ' "$WORK/sanity.txt"
