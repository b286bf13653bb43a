#!/bin/bash
# Processes of the driver die while pods work: the node plugin, and the process that serves a mount, without anybody
# noticing; the container of a mount, which is mounted anew; the controller and the operator's leader, whose work others go on with.
. "$(dirname "$0")/lib.sh"
trap end EXIT
begin
ready_file_system data
claim one
bound one

apply <<END
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: $TOOLBOX_IMAGE
    imagePullPolicy: Never
    command: [bash, -c, "trap 'exit 0' TERM; while true; do sleep 1 & wait; done"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: one}}]
END
k wait --for=condition=Ready pod/app --timeout=90s >/dev/null
in_pod app bash -c 'seq 100000 >/data/numbers; sync -f /data'
numbers=$(seq 100000 | sha256sum)
reads() { [ "$(in_pod app sha256sum /data/numbers | sed 's#/data/numbers#-#')" = "$numbers" ]; }

# kill_container LABEL COMM : ends the process of a container of the chart, and waits until it runs again.
kill_container() {
    local pod restarts
    pod=$(kubectl --namespace "$CHART_NAMESPACE" get pods --selector "$1" --output=jsonpath='{.items[0].metadata.name}')
    restarts() { kubectl --namespace "$CHART_NAMESPACE" get pod "$pod" --output=jsonpath="{.status.containerStatuses[0].restartCount}"; }
    local before
    before=$(restarts)
    in_node kill -KILL "$(process_of "$(kubectl --namespace "$CHART_NAMESPACE" get pod "$pod" --output=jsonpath='{.metadata.uid}')" "$2")"
    runs_again() { [ "$(restarts)" -gt "$before" ] && kubectl --namespace "$CHART_NAMESPACE" wait --for=condition=Ready "pod/$pod" --timeout=1s >/dev/null; }
    until_true 60 "$pod runs again" runs_again
}

step "the node plugin dies, and a pod works on; what was published before is taken down after"
kill_container app.kubernetes.io/name=juicefs-csi-node juicefs
reads || fail "the pod lost its volume with the node plugin"
running_pod second one
k delete pod second --timeout=60s >/dev/null
reads || fail "the pod lost its volume with another pod"
expect "the number of mount pods" 1 "$(mount_pods | wc -l)"

step "the process that serves a mount dies, and the pod works on"
keeper=$(process_of "$(kubectl --namespace "$CHART_NAMESPACE" get pods --selector app.kubernetes.io/name=juicefs-mount --output=jsonpath='{.items[0].metadata.uid}')" juicefs)
worker=$(in_node pgrep -P "$keeper")
in_node kill -KILL "$worker"
reads || fail "the pod lost its volume with the process that served it"
in_pod app bash -c 'echo on >/data/on; sync -f /data'
[ "$(in_node pgrep -P "$keeper")" != "$worker" ] || fail "the same process serves"

step "the container of a mount dies, and a container that starts again has its volume"
kill_container app.kubernetes.io/name=juicefs-mount juicefs
if reads 2>/dev/null; then fail "the pod reads through a dead mount"; fi
expect_in "what the pod's owner is told" "once they are started again" "$(told Pod app MountLost 60)"
in_node kill -KILL "$(process_of "$(k get pod app --output=jsonpath='{.metadata.uid}')" bash)"
until_true 60 "the pod reads again" reads

step "a container of the driver's controller and the operator's leader die, and both go on"
leader=$(kubectl --namespace "$CHART_NAMESPACE" get lease juicefs-operator --output=jsonpath='{.spec.holderIdentity}')
kubectl --namespace "$CHART_NAMESPACE" delete pod "$leader" --wait=false >/dev/null
kill_container app.kubernetes.io/name=juicefs-csi-controller juicefs
claim two
bound two
k patch jfs data --type=merge --patch '{"spec":{"format":{"trashDays":5}}}' >/dev/null
becomes data ConfigInSync Drift 60 >/dev/null

step "nothing of it is left when the pod goes"
k delete pod app --timeout=60s >/dev/null
none() { [ -z "$(mount_pods)" ] && ! in_node grep -q fuse.juicefs /proc/mounts; }
until_true 60 "no mount and no mount pod is left" none
