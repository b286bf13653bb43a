#!/bin/bash
# A FileSystem becomes Ready through its format Job, exports what pods need, is left alone when nothing changed,
# refuses another's volume, and leaves the volume where it is when it is deleted.
. "$(dirname "$0")/lib.sh"
trap end EXIT
begin

step "Ready through the format Job"
ready_file_system data
expect "the condition Formatted" True "$(k get jfs data -o jsonpath='{.status.conditions[?(@.type=="Formatted")].status}')"
expect "the phase" Ready "$(k get jfs data -o jsonpath='{.status.phase}')"
generation=$(k get jfs data -o jsonpath='{.metadata.generation}')
expect "observedGeneration" "$generation" "$(k get jfs data -o jsonpath='{.status.observedGeneration}')"
job=$(k get jfs data -o jsonpath='{.status.lastFormatJob.name}')
expect "the Job's result" created "$(k get jfs data -o jsonpath='{.status.lastFormatJob.result}')"
expect "the Job succeeded" 1 "$(k get job "$job" -o jsonpath='{.status.succeeded}')"
expect_in "the printed row" True "$(k get jfs data --no-headers)"

step "the volume is what the peer understands"
uuid=$(k get jfs data -o jsonpath='{.status.uuid}')
setting=$(redis get setting)
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
expect "the setting" "$setting" "$(redis get setting)"

step "another FileSystem on the same database is refused, and the volume is as it was"
file_system other "$NS-other" | sed 's/format: {trashDays: 1}/format: {trashDays: 1, blockSizeKiB: 1024}/' | apply
k wait --for=condition=Formatted=False jfs/other --timeout=120s >/dev/null
conflict() { [ "$(k get jfs other -o jsonpath='{.status.conditions[?(@.type=="Formatted")].reason}')" = SettingsConflict ]; }
until_true 120 "the condition says SettingsConflict" conflict
message=$(k get jfs other -o jsonpath='{.status.conditions[?(@.type=="Formatted")].message}')
expect_in "the message of the conflict" "block size" "$message"
expect "the setting after the conflict" "$setting" "$(redis get setting)"
k delete jfs other --timeout=60s >/dev/null

step "deleted, it leaves the volume and takes its class and Secret away"
k delete jfs data --timeout=60s >/dev/null
gone() { ! kubectl get storageclass "$NS" && ! k get secret data-csi; }
until_true 30 "class and Secret are gone" gone
expect "the setting after the deletion" "$setting" "$(redis get setting)"
peer status "$(judge_url)" >/dev/null 2>&1 || fail "the peer cannot read the volume after the FileSystem is gone"
