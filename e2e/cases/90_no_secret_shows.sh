#!/bin/bash
# The passwords of Redis and S3 are canaries: with pods at work and claims come and gone, they are in no argument list,
# environment, log, Event, PersistentVolume, pod spec, termination message or `kubectl describe`. Processes and logs are
# watched for the whole run (run.sh), everything else is looked at at its end, here. The search is shown to work by a
# canary of its own, planted in each of these places, that it has to find in each.
. "$(dirname "$0")/lib.sh"
finish() {
    local status=$?
    end "$status"
    kubectl delete pv "$NS-control" --ignore-not-found --wait=false >/dev/null
}
trap finish EXIT
begin

canary=$(secret control)
rm -rf "$WORK/dump"
mkdir -p "$WORK/dump"
"$REPOSITORY/e2e/cases/watch.sh" start

step "a file system, claims, pods; a failed format Job too"
ready_file_system data
claim one
claim two
bound one
bound two
pod first one
pod second two
running_pod first one
running_pod second two
in_pod first bash -c 'head -c 20000000 /dev/urandom >/data/file; sync -f /data'
printf 'not-the-password' >"$WORK/wrong"
k create secret generic wrong-meta --from-file=password="$WORK/wrong" >/dev/null
file_system wrong | sed 's#name: meta, key#name: wrong-meta, key#; s#^  storageClasses:.*##' | apply
reported() { k get pods --output=json | jq -e '[.items[].status.containerStatuses[]?.state.terminated.message // empty | select(contains("\"result\":\"failed\""))] | length > 0' >/dev/null; }
until_true 120 "the failed format Job has reported" reported
k delete pod second --timeout=60s >/dev/null
k delete pvc two --timeout=60s >/dev/null

step "the control: its own canary in every place"
apply <<END
apiVersion: v1
kind: Pod
metadata: {name: control, annotations: {canary: $canary}}
spec:
  terminationGracePeriodSeconds: 1
  restartPolicy: Never
  containers:
  - name: app
    image: $TOOLBOX_IMAGE
    imagePullPolicy: Never
    env: [{name: SHOWN, value: $canary}]
    command: [bash, -c, 'echo "log \$SHOWN"; sleep infinity & wait # $canary']
  - name: ended
    image: $TOOLBOX_IMAGE
    imagePullPolicy: Never
    command: [bash, -c, "cat /etc/podinfo/canary >/dev/termination-log"]
    volumeMounts: [{name: podinfo, mountPath: /etc/podinfo}]
  volumes: [{name: podinfo, downwardAPI: {items: [{path: canary, fieldRef: {fieldPath: "metadata.annotations['canary']"}}]}}]
---
apiVersion: v1
kind: Event
metadata: {name: control}
involvedObject: {apiVersion: v1, kind: Pod, name: control, namespace: $NS}
reason: Control
message: $canary
type: Normal
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: $NS-control}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteMany]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: none
  csi: {driver: control.example.com, volumeHandle: control, volumeAttributes: {shown: $canary}}
END
ended() { [ -n "$(k get pod control --output=jsonpath='{.status.containerStatuses[?(@.name=="ended")].state.terminated.finishedAt}')" ]; }
until_true 60 "the control has ended" ended
k wait --for=jsonpath='{.status.containerStatuses[?(@.name=="app")].started}'=true pod/control --timeout=60s >/dev/null

step "what a mount tells whoever may read it"
in_pod first cat /data/.config >"$WORK/dump/mount-config"
in_pod first cat /data/.stats >"$WORK/dump/mount-stats"
[ -s "$WORK/dump/mount-config" ] || fail "the mount has no .config"

step "what Kubernetes tells of everything but Secrets"
kinds=$(kubectl api-resources --verbs=list --output=name | grep -vxE 'secrets|.*\.metrics\.k8s\.io' | paste -sd,)
kubectl get "$kinds" --all-namespaces --output=json >"$WORK/dump/objects.json"
of_kind() { jq ".items[] | select(.kind == \"$1\")$2" "$WORK/dump/objects.json"; }
of_kind Event "" >"$WORK/dump/events.json"
of_kind PersistentVolume "" >"$WORK/dump/persistent-volumes.json"
of_kind Pod .spec >"$WORK/dump/pod-specs.json"
of_kind Pod ".status | [.containerStatuses[]?, .initContainerStatuses[]? | .state, .lastState | .terminated?.message? // empty]" >"$WORK/dump/termination-messages.json"
for kind in pods jobs.batch persistentvolumes persistentvolumeclaims storageclasses secrets serviceaccounts configmaps daemonsets.apps deployments.apps filesystems.juicefs.rs csidrivers csinodes nodes leases.coordination.k8s.io events namespaces; do
    kubectl describe "$kind" --all-namespaces >"$WORK/dump/describe-$kind.txt" 2>/dev/null || kubectl describe "$kind" >"$WORK/dump/describe-$kind.txt"
    [ -s "$WORK/dump/describe-$kind.txt" ] || fail "kubectl describe $kind says nothing"
done

step "the search"
"$REPOSITORY/e2e/cases/watch.sh" stop
# Logs of containers, of the node's programs and of the servers; what runc was told to run.
in_node python3 "$REPOSITORY/e2e/cases/canary.py" search --output "$WORK/found" \
    --in "$WORK/dump" --in /var/log/pods --in "$STATE/log" --in /run/containerd/io.containerd.runtime.v2.task \
    "$STATE/secrets/redis-password" "$STATE/secrets/s3-secret-key" "$STATE/secrets/postgres-password" "$STATE/secrets/control"
sed 's/^/watched: /' "$STATE/watch/seen" >"$WORK/all"
sed 's/^/searched: /' "$WORK/found" >>"$WORK/all"
for place in 'watched: control /proc/\*/cmdline of sleep\|bash' 'watched: control /proc/\*/environ' 'watched: control /var/log/pods/' \
    'searched: control .*/events.json' 'searched: control .*/persistent-volumes.json' 'searched: control .*/pod-specs.json' \
    'searched: control .*/termination-messages.json' 'searched: control .*/describe-pods.txt' 'searched: control .*/describe-persistentvolumes.txt' \
    'searched: control .*/describe-events.txt' 'searched: control /var/log/pods/' 'searched: control .*/config.json'; do
    grep -q "^$place" "$WORK/all" || fail "the search is blind: it did not find the control in $place"
done
if grep -v '^[a-z]*: control ' "$WORK/all" >"$WORK/leaks"; then
    cat "$WORK/leaks" >&2
    fail "a secret shows in the places above"
fi
