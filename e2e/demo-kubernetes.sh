#!/bin/bash
# e2e/demo-kubernetes.sh [BINARY]: from `kubectl apply` to bytes in a bucket, on a real one-node Kubernetes that is brought up
# on this machine (cold: its parts are built first, about 10 minutes). The cluster stays for you to try things.
# A cluster that has the chart already is used as it is.
. "$(dirname "$0")/cluster/lib.sh"

binary=${1:-}
kubectl() { "$CLUSTER_DIR/kubectl" "$@"; }
k() { kubectl --namespace demo "$@"; }
step() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
shown() { sed 's/^/    /'; }
begun=$SECONDS

step "A Kubernetes node on this machine, in namespaces of its own"
"$CLUSTER_DIR/up.sh" 2>&1 | shown

step "Redis and an S3 server for it"
"$CLUSTER_DIR/servers.sh" start 2>&1 | shown

if ! "$CLUSTER_DIR/helm" status juicefs --namespace juicefs-system >/dev/null 2>&1; then
    step "The image and the chart"
    image=$REPOSITORY/target/juicefs-image.tar
    (cd "$REPOSITORY" && cargo xtask image --output "$image" ${binary:+--binary "$binary"})
    "$REPOSITORY/e2e/install.sh" "$image" 2>&1 | tail -n 12 | shown
fi
kubectl --namespace juicefs-system get pods | shown

step "Two Secrets and a FileSystem"
k delete pods,pvc --all --timeout=60s >/dev/null 2>&1 || true
k delete filesystem data --ignore-not-found --timeout=60s >/dev/null
k delete secret data-meta data-s3 --ignore-not-found >/dev/null
k create secret generic data-meta --from-file=password="$STATE/secrets/redis-password" | shown
k create secret generic data-s3 --from-file=access-key="$STATE/secrets/s3-access-key" --from-file=secret-key="$STATE/secrets/s3-secret-key" | shown
manifests=$STATE/demo
mkdir -p "$manifests"
REDISCLI_AUTH=$(cat "$STATE/secrets/judge-redis-password") in_network redis-cli --user judge -h "$NODE_IP" -n 15 flushdb >/dev/null
cat >"$manifests/file-system.yaml" <<END
apiVersion: juicefs.rs/v1alpha1
kind: FileSystem
metadata: {name: data, namespace: demo}
spec:
  meta: {engine: redis, url: "redis://redis.storage:6379/15", secretRef: {name: data-meta, key: password}}
  storage: {type: s3, bucket: "http://s3.storage:9000/demo-$(date +%s)", secretRef: {name: data-s3}}
  format: {trashDays: 1}
  storageClasses: [{name: data, reclaimPolicy: Delete}]
END
shown <"$manifests/file-system.yaml"
kubectl apply --filename "$manifests/file-system.yaml" | shown
k wait --for=condition=Ready filesystem/data --timeout=120s | shown
k get filesystem data | shown

step "A claim and two pods that share it"
cat >"$manifests/work.yaml" <<END
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: work, namespace: demo}
spec:
  accessModes: [ReadWriteMany]
  storageClassName: data
  resources: {requests: {storage: 10Gi}}
END
for name in writer reader; do
    cat >>"$manifests/work.yaml" <<END
---
apiVersion: v1
kind: Pod
metadata: {name: $name, namespace: demo}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: "$TOOLBOX_IMAGE", imagePullPolicy: Never, command: [sleep, infinity], volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, persistentVolumeClaim: {claimName: work}}]
END
done
kubectl apply --filename "$manifests/work.yaml" | shown
k wait --for=condition=Ready pod/writer pod/reader --timeout=120s | shown

step "One writes 100 MiB and a thousand files, the other reads them"
k exec writer -- bash -ec 'cd /data; head -c 100M /dev/urandom >big; for d in $(seq 20); do mkdir d$d; for f in $(seq 50); do echo $d/$f >d$d/f$f; done; done; sync -f .'
k exec reader -- bash -c 'cd /data; df -h . | tail -n 1; find . -name "f*" -type f | wc -l'  | shown
wrote=$(k exec writer -- sha256sum /data/big)
read=$(k exec reader -- sha256sum /data/big)
[ "$wrote" = "$read" ] || die "the reader has other bytes: $read instead of $wrote"
[ "$(k exec reader -- bash -c 'cat /data/d20/f50')" = 20/50 ] || die "the reader has another file"
echo "    $read in both"

step "What is there now"
k get filesystem,pvc,pods | shown
kubectl --namespace juicefs-system get pods --selector app.kubernetes.io/name=juicefs-mount | shown

step "Done in $((SECONDS - begun)) s. The cluster stays; try:"
cat <<END
    e2e/cluster/kubectl -n demo describe filesystem data        # conditions and Events
    e2e/cluster/kubectl -n demo exec -it writer -- bash         # a shell with the volume at /data
    e2e/cluster/kubectl -n demo delete pod writer reader        # the mount pod goes with its last user
    e2e/cluster/kubectl -n demo delete pvc work                 # its directory goes, its files are in the trash
    make cluster-down                                           # ends it all
    The manifests are in $manifests, the guide is docs/kubernetes.md.
END
