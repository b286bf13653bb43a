#!/bin/bash
# Installs our image and chart on the running cluster, the way a user would, for the cases of e2e/cases.
#
# install.sh IMAGE.tar
#
# Every case, and the demo, has a namespace of its own, made here, because the chart gives rights to read Secrets by namespace.

. "$(dirname "$0")/cluster/lib.sh"

image=${1:?install.sh IMAGE.tar}
kubectl=$CLUSTER_DIR/kubectl

"$CLUSTER_DIR/load.sh" "$image"
# A case that needs two has the second one here.
namespaces=(demo case-23-source)
for file in "$REPOSITORY"/e2e/cases/[0-9]*.sh; do
    name=$(basename "$file")
    namespaces+=("case-${name%%_*}")
done
for namespace in "${namespaces[@]}"; do
    "$kubectl" get namespace "$namespace" >/dev/null 2>&1 || "$kubectl" create namespace "$namespace" >&2
done
# The image has the same name every time, so pods of an older one are made anew.
if "$CLUSTER_DIR/helm" status juicefs --namespace juicefs-system >/dev/null 2>&1; then
    "$kubectl" --namespace juicefs-system rollout restart deployments,daemonsets >&2
fi
"$CLUSTER_DIR/helm" upgrade --install juicefs "$REPOSITORY/charts/juicefs" --namespace juicefs-system --create-namespace \
    --set image.repository=juicefs --set image.tag=dev --set image.pullPolicy=Never \
    --set "secretNamespaces={$(IFS=,; printf %s "${namespaces[*]}")}" --wait --timeout 240s
# The node plugin is there for pods once the kubelet knows it.
registered() { "$kubectl" get csinode "$NODE_NAME" --output=jsonpath='{.spec.drivers[*].name}' | grep -q csi.juicefs.com; }
until_true 60 "the driver is registered on $NODE_NAME" registered
