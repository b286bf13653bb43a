#!/bin/bash
# The passwords of Redis and S3 are canaries: with pods at work and claims come and gone, they are in no argument list,
# environment, log, Event, PersistentVolume, pod spec, termination message or `kubectl describe`. The search is shown to
# work by a canary of its own that it has to find in each of these places.
. "$(dirname "$0")/lib.sh"

watcher=
finish() {
    local status=$?
    [ -z "$watcher" ] || kill "$watcher" 2>/dev/null || true
    end "$status"
}
trap finish EXIT
begin

canary=canary-control-$(openssl rand -hex 12)
printf %s "$canary" >"$WORK/control"
rm -f "$WORK"/seen "$WORK"/stop
rm -rf "$WORK/dump"
mkdir -p "$WORK/dump"

# Processes that live for a moment are seen by looking all the time.
in_node python3 "$REPOSITORY/e2e/cases/canary.py" watch --stop "$WORK/stop" --output "$WORK/seen" \
    "$STATE/secrets/redis-password" "$STATE/secrets/s3-secret-key" "$WORK/control" &
watcher=$!

step "a file system, claims, pods; a failed format Job too"
ready_file_system data
claim one
claim two
bound one
bound two
running_pod first one
running_pod second two
in_pod first bash -c 'head -c 20000000 /dev/urandom >/data/file; sync -f /data'
printf 'not-the-password' >"$WORK/wrong"
k create secret generic wrong-meta --from-file=password="$WORK/wrong" >/dev/null
file_system wrong | sed 's#name: meta, key#name: wrong-meta, key#; s#^  storageClasses:.*##' | apply
k wait --for=condition=Ready=False jfs/wrong --timeout=120s >/dev/null
k delete pod second --timeout=60s >/dev/null
k delete pvc two --timeout=60s >/dev/null

step "the control: a pod that shows a secret of its own everywhere"
apply <<EOF
apiVersion: v1
kind: Pod
metadata: {name: control}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: $TOOLBOX_IMAGE
    imagePullPolicy: Never
    env: [{name: SHOWN, value: $canary}]
    command: [bash, -c, 'echo "log \$SHOWN"; sleep infinity & wait # $canary']
EOF
k wait --for=condition=Ready pod/control --timeout=60s >/dev/null

step "what a mount tells whoever may read it"
in_pod first cat /data/.config >"$WORK/dump/config"
in_pod first cat /data/.stats >"$WORK/dump/stats"
[ -s "$WORK/dump/config" ] || fail "the mount has no .config"

step "what Kubernetes tells of everything but Secrets"
kinds=$(kubectl api-resources --verbs=list --output=name | grep -vxE 'secrets|.*\.metrics\.k8s\.io' | paste -sd,)
kubectl get "$kinds" --all-namespaces --output=yaml >"$WORK/dump/objects.yaml" 2>"$WORK/dump/objects.err" || true
kubectl get events.events.k8s.io --all-namespaces --output=yaml >"$WORK/dump/events.yaml"
for kind in pods jobs.batch persistentvolumes persistentvolumeclaims storageclasses secrets serviceaccounts configmaps daemonsets.apps deployments.apps statefulsets.apps filesystems.juicefs.rs csidrivers csinodes nodes leases.coordination.k8s.io; do
    kubectl describe "$kind" --all-namespaces >"$WORK/dump/describe-$kind.txt" 2>/dev/null || kubectl describe "$kind" >"$WORK/dump/describe-$kind.txt" 2>/dev/null || true
done
for file in objects.yaml events.yaml describe-pods.txt describe-secrets.txt describe-filesystems.juicefs.rs.txt; do
    [ -s "$WORK/dump/$file" ] || fail "nothing was written down in $file"
done

step "the search"
touch "$WORK/stop"
wait "$watcher" || fail "the watcher of processes failed"
watcher=
# Logs of containers, of the node's programs and of the servers; what runc was told to run.
in_node python3 "$REPOSITORY/e2e/cases/canary.py" search --output "$WORK/found" \
    --in "$WORK/dump" --in /var/log/pods --in "$STATE/log" --in /run/containerd/io.containerd.runtime.v2.task \
    "$STATE/secrets/redis-password" "$STATE/secrets/s3-secret-key" "$WORK/control"
cat "$WORK/seen" "$WORK/found" >"$WORK/all"
for place in cmdline environ objects.yaml describe-pods.txt /var/log/pods config.json; do
    grep "^control .*$place" "$WORK/all" >/dev/null || fail "the search is blind: it did not find the control in $place"
done
if grep -v '^control ' "$WORK/all" >"$WORK/leaks"; then
    cat "$WORK/leaks" >&2
    fail "a secret shows in the places above"
fi
