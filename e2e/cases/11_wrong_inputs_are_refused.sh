#!/bin/bash
# Every wrong input that the CRD covers is refused with a sentence; what only the world can tell is a condition with one.
. "$(dirname "$0")/lib.sh"
trap end EXIT
begin
forget_volume
storage_secrets

# refused SENTENCE SED-EXPRESSION : a good manifest, changed, is refused by the API server.
refused() {
    local answer changed
    changed=$(file_system wrong | sed "$2")
    [ "$changed" != "$(file_system wrong)" ] || fail "the manifest is not changed by $2"
    if answer=$(k create --dry-run=server --filename - 2>&1 <<<"$changed"); then fail "not refused: $2"; fi
    expect_in "the answer to $2" "$1" "$answer"
}
file_system wrong | k create --dry-run=server --filename - >/dev/null || fail "the good manifest is refused"

step "refused at the door: metadata and storage"
refused "must not contain a password" 's#redis://#redis://:hunter2@#'
refused "must not contain a password" 's#6379/[0-9]*"#6379/1?password=hunter2"#'
refused "must begin with redis://" 's#redis://redis.storage:6379/[0-9]*#sqlite3:///tmp/x.db#; s#engine: redis, ##'
refused "etcd, tikv and fdb are not supported yet" 's#redis://redis.storage:6379/[0-9]*#etcd://etcd.storage:2379/x#; s#engine: redis, ##'
refused "must not contain a password" 's#redis://redis.storage:6379/[0-9]*#mysql://user:hunter2@(mysql.storage:3306)/x#; s#engine: redis, ##'
refused "must not contain a password" 's#redis://redis.storage:6379/[0-9]*#postgres://user:hunter2@postgres.storage/x#; s#engine: redis, ##'
refused "engine must be the scheme of url" 's#engine: redis#engine: mysql#'
refused "Unsupported value" 's#engine: redis#engine: sqlite3#'
refused "meta needs a url" 's#meta: {.*#meta: {}#'
refused "no pod reaches" 's#type: s3#type: file#'
refused "storage.type" 's#type: s3#type: S3-like#'
refused "must not contain credentials" 's#http://s3#http://key:secret@s3#'
refused "bucket" 's#bucket: "[^"]*", ##'
refused "secretRef.name" 's#secretRef: {name: s3}#secretRef: {}#'

step "refused at the door: the volume"
refused "volumeName" 's#^  secretExport:#  volumeName: Ab\n&#'
refused "metadata.name is no volume name" 's#metadata: {name: wrong}#metadata: {name: a.name.with.dots}#'
refused "metadata.name must be at most 63 characters" "s#metadata: {name: wrong}#metadata: {name: $(printf 'x%.0s' $(seq 64))}#; s#^  secretExport:#  volumeName: good\n&#"
refused "blockSizeKiB must be a power of two" 's#trashDays: 1#blockSizeKiB: 100#'
refused "compression" 's#trashDays: 1#compression: brotli#'
refused "capacity" 's#trashDays: 1#capacity: lots#'
refused "inodes" 's#trashDays: 1#inodes: -1#'
refused "trashDays" 's#trashDays: 1#trashDays: -1#'
refused "uuid" 's#trashDays: 1#uuid: not-a-uuid#'
refused "deletionPolicy" 's#^  secretExport:#  deletionPolicy: Delete\n&#'
refused 'unknown field "spec.format.trashDay"' 's#trashDays: 1#trashDay: 1#'

step "refused at the door: what is made for pods"
refused "reclaimPolicy" 's#reclaimPolicy: Delete#reclaimPolicy: Recycle#'
refused "volumeBindingMode" 's#reclaimPolicy: Delete#volumeBindingMode: Later#'
refused "storageClasses[0].name" "s#storageClasses: \[{name: $NS#storageClasses: [{name: Upper_Case#"
refused "Duplicate value" "s#storageClasses: \[#storageClasses: [{name: $NS}, #"
refused "secretExport.name" 's#secretExport: {name: wrong-csi}#secretExport: {name: "Not A Name"}#'
refused "allowedNamespaces" 's#^  secretExport:#  allowedNamespaces: [Upper]\n&#'
refused "Duplicate value" 's#^  secretExport:#  allowedNamespaces: [a, a]\n&#'

step "what may not change is refused later too"
file_system right | sed 's#^  storageClasses:.*##' | apply
changed() {
    local answer
    if answer=$(k patch jfs right --type=merge --patch "$2" 2>&1); then fail "not refused: $2"; fi
    expect_in "the answer to $2" "$1" "$answer"
}
changed "bucket cannot change" '{"spec":{"storage":{"bucket":"http://s3.storage:9000/elsewhere"}}}'
changed "type cannot change" '{"spec":{"storage":{"type":"minio"}}}'
changed "volumeName cannot change" '{"spec":{"volumeName":"another"}}'
changed "blockSizeKiB cannot change" '{"spec":{"format":{"blockSizeKiB":1024}}}'
changed "compression cannot change" '{"spec":{"format":{"compression":"lz4"}}}'
changed "hashPrefix cannot change" '{"spec":{"format":{"hashPrefix":true}}}'
changed "uuid cannot change" '{"spec":{"format":{"uuid":"00000000-0000-0000-0000-000000000000"}}}'
changed "meta.engine cannot change" '{"spec":{"meta":{"engine":null}}}'
changed "the scheme of meta.url cannot change" '{"spec":{"meta":{"engine":null,"url":"mysql://db/x"}}}'
k wait --for=condition=Ready jfs/right --timeout=120s >/dev/null || fail "the good FileSystem is not Ready"
k delete jfs right --timeout=60s >/dev/null
forget_volume

step "what only the world can tell is a condition with a sentence"
printf 'not-the-password' >"$WORK/wrong"
k create secret generic wrong-meta --from-file=password="$WORK/wrong" >/dev/null
file_system wrong-password | sed 's#name: meta, key#name: wrong-meta, key#; s#^  storageClasses:.*##' | apply
file_system unreachable | sed 's#redis.storage:6379#redis.storage:6390#; s#^  storageClasses:.*##' | apply
file_system no-secret | sed 's#secretRef: {name: s3}#secretRef: {name: nowhere}#; s#^  storageClasses:.*##' | apply
k create secret generic wrong-s3 --from-file=access-key="$STATE/secrets/s3-access-key" --from-file=secret-key="$WORK/wrong" >/dev/null
file_system wrong-key | sed 's#secretRef: {name: s3}#secretRef: {name: wrong-s3}#; s#^  storageClasses:.*##' | apply

printf 'sqlite3:///tmp/meta.db' >"$WORK/sqlite"
k create secret generic sqlite --from-file=metaurl="$WORK/sqlite" >/dev/null
file_system sqlite | sed 's#meta: {.*#meta: {secretRef: {name: sqlite}}#; s#^  storageClasses:.*##' | apply
file_system no-keys | sed 's#, secretRef: {name: s3}##; s#^  storageClasses:.*##' | apply

# not_ready NAME PART... : within the deadline Ready is False and its message has every part.
not_ready() {
    local name=$1 message
    shift
    says() {
        message=$(k get jfs "$name" -o jsonpath='{.status.conditions[?(@.status=="False")].message}')
        local part
        for part in "$@"; do [[ $message == *"$part"* ]] || return 1; done
    }
    if ! until_true 240 "$name says what is wrong" says "$@"; then
        k get jfs "$name" -o jsonpath='{.status}' >&2
        fail "$name: expected '$*' in '$(k get jfs "$name" -o jsonpath='{.status.conditions[?(@.status=="False")].message}')'"
    fi
    expect "Ready of $name" False "$(k get jfs "$name" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')"
}
not_ready no-secret nowhere
not_ready wrong-password redis.storage "the password in the Secret that meta.secretRef names"
not_ready wrong-key s3.storage "secret-key in the Secret that storage.secretRef names"
not_ready no-keys s3.storage "there is no access key: set access-key and secret-key in the Secret that storage.secretRef names"
not_ready sqlite "meta.secretRef names is sqlite3://, which no other pod reaches"
not_ready unreachable redis.storage:6390
for name in wrong-password wrong-key no-keys sqlite unreachable; do
    expect "Events that say what is wrong with $name" 1 "$(k get events --field-selector "involvedObject.kind=FileSystem,involvedObject.name=$name,type=Warning" --output=name | wc -l)"
done
if k get jfs,events --output=json | jq -r '.. | .message? // empty' | grep -E -e '--[a-z]|META_PASSWORD|ACCESS_KEY|SECRET_KEY'; then fail "somebody is told of flags or variables"; fi
expect "keys in the database" 0 "$(redis dbsize | tr -dc 0-9)"
