#!/bin/bash
# Writes down what the cluster is and said, for whoever asks why a case failed. Secrets stay out of it.
#
# collect.sh FOLDER

. "$(dirname "$0")/lib.sh"

folder=${1:?collect.sh FOLDER}
mkdir -p "$folder"
kubectl=$CLUSTER_DIR/kubectl
"$kubectl" get all,pvc,pv,storageclasses,csidrivers,csinodes --all-namespaces --output=wide >"$folder/objects.txt" 2>&1 || true
"$kubectl" get filesystems.juicefs.rs --all-namespaces --output=yaml >"$folder/file-systems.yaml" 2>&1 || true
"$kubectl" get events --all-namespaces --sort-by=.lastTimestamp >"$folder/events.txt" 2>&1 || true
"$kubectl" describe pods --all-namespaces >"$folder/pods.txt" 2>&1 || true
while read -r namespace pod; do
    "$kubectl" --namespace "$namespace" logs "$pod" --all-containers --prefix --tail=2000 >"$folder/$namespace.$pod.log" 2>&1 || true
    "$kubectl" --namespace "$namespace" logs "$pod" --all-containers --prefix --previous --tail=500 >"$folder/$namespace.$pod.previous.log" 2>/dev/null ||
        rm -f "$folder/$namespace.$pod.previous.log"
done < <("$kubectl" get pods --all-namespaces --output=jsonpath='{range .items[*]}{.metadata.namespace} {.metadata.name}{"\n"}{end}')
in_node cat /proc/self/mountinfo >"$folder/mountinfo.txt" 2>&1 || true
in_node ps -eo pid,ppid,user,stat,wchan:20,rss,args >"$folder/processes.txt" 2>&1 || true
for log in "$STATE"/log/*.log; do tail -n 2000 "$log" >"$folder/node.${log##*/}" || true; done
