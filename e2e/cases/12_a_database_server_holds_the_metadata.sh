#!/bin/bash
# A FileSystem on PostgreSQL, its password in a Secret: formatted, claimed, written and read by pods and by the peer. What is
# wrong with user, password or database is told in the words of the resource.
. "$(dirname "$0")/lib.sh"
finish() {
    local status=$?
    end "$status"
    "$CLUSTER_DIR/servers.sh" stop postgres
}
trap finish EXIT
begin
"$CLUSTER_DIR/servers.sh" start postgres 2>"$WORK/servers.log" || { cat "$WORK/servers.log" >&2; fail "PostgreSQL does not start"; }
# The case's own, in place of those of Redis.
meta_url() { printf 'postgres://juicefs@postgres.storage:5432/data?sslmode=disable'; }
judge_url() { printf 'postgres://judge@postgres.storage:5432/data?sslmode=disable'; }
forget_volume() { postgres_says 'DROP DATABASE IF EXISTS data WITH (FORCE);'; postgres_says 'CREATE DATABASE data OWNER juicefs;'; }
storage_secrets() {
    k create secret generic meta --from-file=password="$STATE/secrets/postgres-password" >/dev/null
    k create secret generic s3 --from-file=access-key="$STATE/secrets/s3-access-key" --from-file=secret-key="$STATE/secrets/s3-secret-key" >/dev/null
}
file_system() {
    cat <<EOF
apiVersion: juicefs.rs/v1alpha1
kind: FileSystem
metadata: {name: $1}
spec:
  meta: {engine: postgres, url: "$(meta_url)", secretRef: {name: meta, key: password}}
  storage: {type: s3, bucket: "$(bucket)", secretRef: {name: s3}}
  storageClasses: [{name: ${2:-$NS}}]
EOF
}

step "Ready through the format Job"
ready_file_system data
expect "UUID in the database" "$(k get jfs data -o jsonpath='{.status.uuid}')" "$(peer status "$(judge_url)" 2>/dev/null | jq -r .Setting.UUID)"

step "a claim binds, pods write and read, the peer finds the bytes"
claim one
bound one
running_pod writer one
in_pod writer bash -c 'seq 100000 >/data/numbers; mkdir /data/d; ln /data/numbers /data/d/hard; sync -f /data'
running_pod reader one
expect "what the other pod reads" "$(seq 100000 | sha256sum)" "$(in_pod reader sha256sum /data/d/hard | sed 's#/data/d/hard#-#')"
expect "the size of the file system" 1073741824 "$(in_pod reader df --block-size=1 --output=size /data | tail -1 | tr -d ' ')"
expect "what the peer reads" "$(seq 100000 | sha256sum)" "$(with_peer 'sha256sum <"$MNT/$1/numbers"' "$(directory_of one)")"

step "what is wrong is told in the words of the resource"
printf 'not-the-password' >"$WORK/wrong"
k create secret generic wrong-meta --from-file=password="$WORK/wrong" >/dev/null
file_system wrong-password "$NS-wrong" | sed 's#name: meta, key#name: wrong-meta, key#; s#^  storageClasses:.*##' | apply
file_system no-database "$NS-wrong" | sed 's#5432/data#5432/nowhere#; s#^  storageClasses:.*##' | apply
printf 'postgres://juicefs@postgres.storage/data' >"$WORK/metaurl"
k create secret generic other-engine --from-file=metaurl="$WORK/metaurl" >/dev/null
file_system other-engine "$NS-wrong" | sed 's#meta: {.*#meta: {engine: mysql, secretRef: {name: other-engine}}#; s#^  storageClasses:.*##' | apply
expect_in "a wrong password" "the password in the Secret that meta.secretRef names" "$(becomes wrong-password Formatted MetadataUnreachable 90)"
expect_in "no such database" "nowhere" "$(becomes no-database Formatted MetadataUnreachable 90)"
expect_in "another engine" "meta.engine is mysql, but the address in the Secret is postgres://" "$(becomes other-engine Formatted BadSettings 90)"

step "a deleted claim takes its directory into the trash"
k delete pod writer reader --timeout=60s >/dev/null
one=$(directory_of one)
k delete pvc one --timeout=60s >/dev/null
in_trash() { with_peer 'test ! -e "$MNT/$1"; find "$MNT/.trash" -name "*-numbers" | grep -q .' "$one"; }
until_true 90 "the directory is gone and its files are in the trash" in_trash
peer fsck --path / --recursive "$(judge_url)" >"$WORK/fsck" 2>&1 || { tail -n 10 "$WORK/fsck" >&2; fail "the peer's fsck"; }
