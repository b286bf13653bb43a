#!/bin/bash
# A FileSystem becomes Ready through its format Job, exports what pods need, is left alone when nothing changed,
# refuses another's volume, Secret, class and namespace, and leaves the volume where it is when it is deleted.
. "$(dirname "$0")/lib.sh"
finish() {
    local status=$?
    end "$status"
    kubectl delete storageclass "$NS-taken" --ignore-not-found >/dev/null
    kubectl delete namespace "$NS-elsewhere" --ignore-not-found --wait=false >/dev/null
}
trap finish EXIT
begin

step "the rendered manifests are ones that the API server takes"
kubectl apply --dry-run=server --force-conflicts --server-side --filename "$REPOSITORY/deploy/juicefs.yaml" >/dev/null

step "Ready through the format Job"
ready_file_system data
expect "the condition Formatted" True "$(condition data Formatted status)"
expect "the phase" Ready "$(k get jfs data -o jsonpath='{.status.phase}')"
generation=$(k get jfs data -o jsonpath='{.metadata.generation}')
expect "observedGeneration" "$generation" "$(k get jfs data -o jsonpath='{.status.observedGeneration}')"
expect "conditions without a reason, a message, a time or the generation" "" "$(k get jfs data -o json | jq -r --argjson generation "$generation" \
    '.status.conditions[] | select((.reason == "") or (.message == "") or (.lastTransitionTime == null) or (.observedGeneration != $generation)) | .type')"
expect "conditions that are not True" "" "$(k get jfs data -o json | jq -r '.status.conditions[] | select(.status != "True") | .type')"
expect "the finalizer" juicefs.rs/cleanup "$(k get jfs data -o jsonpath='{.metadata.finalizers[*]}')"
job=$(k get jfs data -o jsonpath='{.status.lastFormatJob.name}')
expect "the Job's result" created "$(k get jfs data -o jsonpath='{.status.lastFormatJob.result}')"
expect "the Job succeeded" 1 "$(k get job "$job" -o jsonpath='{.status.succeeded}')"
expect "who owns the Job" "FileSystem data" "$(k get job "$job" -o jsonpath='{.metadata.ownerReferences[0].kind} {.metadata.ownerReferences[0].name}')"
expect_in "the printed row" True "$(k get jfs data --no-headers)"
for reason in FormatJobCreated Created Reached Exported Applied Ready; do
    expect_in "the Event $reason" "Normal: " "$(told FileSystem data $reason)"
done
expect_in "what kubectl describe shows" FormatJobCreated "$(k describe jfs data)"

step "the volume is what the peer understands"
uuid=$(k get jfs data -o jsonpath='{.status.uuid}')
setting=$(redis get setting)
unchanged() { [ "$(redis get setting)" = "$setting" ] || fail "the volume's setting was changed $1"; }
expect "UUID in the database" "$uuid" "$(jq -r .UUID <<<"$setting")"
status=$(peer status "$(judge_url)" 2>/dev/null)
expect "name, as the peer sees it" data "$(jq -r .Setting.Name <<<"$status")"
expect "storage, as the peer sees it" s3 "$(jq -r .Setting.Storage <<<"$status")"
expect "trash days, as the peer sees them" 1 "$(jq -r .Setting.TrashDays <<<"$status")"

step "the exported Secret has upstream's keys, the class has our driver and names the Secret"
for key in name metaurl storage bucket access-key secret-key; do
    [ -n "$(k get secret data-csi -o jsonpath="{.data.$key}")" ] || fail "the exported Secret has no $key"
done
expect "the exported secret-key" "$(sha256sum <"$STATE/secrets/s3-secret-key")" "$(k get secret data-csi -o jsonpath='{.data.secret-key}' | base64 -d | sha256sum)"
class() { kubectl get storageclass "$NS" -o jsonpath="$1"; }
expect "the class's driver" "$DRIVER" "$(class '{.provisioner}')"
for side in provisioner node-publish; do
    expect "the class's $side secret" "data-csi" "$(class "{.parameters.csi\.storage\.k8s\.io/$side-secret-name}")"
    expect "the namespace of the class's $side secret" "$NS" "$(class "{.parameters.csi\.storage\.k8s\.io/$side-secret-namespace}")"
done

step "applied again, nothing happens"
file_system data | apply
k annotate jfs data e2e/touched=yes >/dev/null
settled() { [ "$(k get jfs data -o jsonpath='{.status.observedGeneration}')" = "$(k get jfs data -o jsonpath='{.metadata.generation}')" ]; }
until_true 20 "the operator has seen the object again" settled
expect "the number of format Jobs" 1 "$(k get jobs --no-headers 2>/dev/null | wc -l)"
unchanged "by nothing"

step "its Job made again finds the volume unchanged"
k delete job "$job" --cascade=foreground --timeout=60s >/dev/null
k patch jfs data --type=merge --patch '{"spec":{"format":{"trashDays":2}}}' >/dev/null
expect_in "what drifted" "format.trashDays is 1 in the volume, 2 in the FileSystem" "$(becomes data ConfigInSync Drift 60)"
expect "the new Job's result" unchanged "$(k get jfs data -o jsonpath='{.status.lastFormatJob.result}')"
expect "Ready in spite of the drift" True "$(condition data Ready status)"
unchanged "by a drift"

step "another FileSystem on the same database is refused, and the volume is as it was"
file_system other "$NS-other" | sed 's/format: {trashDays: 1}/format: {trashDays: 1, blockSizeKiB: 1024}/' | apply
expect_in "the message of the conflict" "format.blockSizeKiB is 4096 in the volume, 1024 in the FileSystem" "$(becomes other Formatted SettingsConflict 60)"
expect "Ready in a conflict" False "$(condition other Ready status)"
expect_in "the Event of the conflict" "Warning: " "$(told FileSystem other SettingsConflict)"
if kubectl get storageclass "$NS-other" >/dev/null 2>&1; then fail "a conflicting FileSystem has a class"; fi
unchanged "by a conflict"
k delete jfs other --timeout=60s >/dev/null

step "a class and a Secret that are somebody else's are left alone and named"
kubectl apply --filename - >/dev/null <<END
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: $NS-taken}
provisioner: example.com/other
END
k create secret generic taken --from-literal=mine=yes >/dev/null
k patch jfs data --type=merge --patch "{\"spec\":{\"format\":{\"trashDays\":1},\"storageClasses\":[{\"name\":\"$NS\",\"allowVolumeExpansion\":true},{\"name\":\"$NS-taken\"}]}}" >/dev/null
expect_in "the message about the class" "StorageClass $NS-taken exists and does not belong to this FileSystem" "$(becomes data StorageClassesReady Conflict 60)"
expect "Ready with a class in conflict" False "$(condition data Ready status)"
expect_in "the Event about the class" "Warning: " "$(told FileSystem data Conflict)"
expect "the other's class" "example.com/other" "$(kubectl get storageclass "$NS-taken" -o jsonpath='{.provisioner}{.metadata.labels}')"
k patch jfs data --type=merge --patch "{\"spec\":{\"storageClasses\":[{\"name\":\"$NS\",\"allowVolumeExpansion\":true}],\"secretExport\":{\"name\":\"taken\"}}}" >/dev/null
expect_in "the message about the Secret" "Secret taken exists and does not belong to this FileSystem" "$(becomes data SecretExported Conflict 60)"
expect "the other's Secret" '{"mine":"eWVz"}' "$(k get secret taken -o jsonpath='{.data}')"
k patch jfs data --type=merge --patch '{"spec":{"secretExport":{"name":"data-csi"}}}' >/dev/null
k wait --for=condition=Ready jfs/data --timeout=60s >/dev/null
expect "classes" "[\"$NS\"]" "$(k get jfs data -o jsonpath='{.status.storageClasses}')"

step "an emptied database is not formatted again"
redis rename setting kept >/dev/null
k patch jfs data --type=merge --patch '{"spec":{"format":{"trashDays":3}}}' >/dev/null
expect_in "the message about the emptied database" "holds no volume, but the volume $uuid is expected there" "$(becomes data Formatted SettingsConflict 60)"
expect "settings in the emptied database" "" "$(redis get setting)"
redis rename kept setting >/dev/null
k patch jfs data --type=merge --patch '{"spec":{"format":{"trashDays":1}}}' >/dev/null
k wait --for=condition=Ready jfs/data --timeout=60s >/dev/null
unchanged "by the operator"

step "where the operator has no rights, it says so"
kubectl create namespace "$NS-elsewhere" >/dev/null 2>&1 || true
file_system data "$NS-elsewhere" | kubectl --namespace "$NS-elsewhere" apply --filename - >/dev/null
told_so() { [[ $(kubectl --namespace "$NS-elsewhere" get jfs data -o jsonpath='{.status.conditions[?(@.type=="Ready")].message}') == *secretNamespaces* ]]; }
until_true 30 "the condition names secretNamespaces" told_so
kubectl --namespace "$NS-elsewhere" delete jfs data --timeout=60s >/dev/null

step "deleted, it leaves the volume and takes its class and Secret away"
k delete jfs data --timeout=60s >/dev/null
gone() { ! kubectl get storageclass "$NS" && ! k get secret data-csi; }
until_true 30 "class and Secret are gone" gone
expect_in "the Event of the end" "the volume data stays" "$(told FileSystem data Retained)"
unchanged "by the deletion"
peer status "$(judge_url)" >/dev/null 2>&1 || fail "the peer cannot read the volume after the FileSystem is gone"
