#!/bin/bash
# e2e/demo.sh BINARY: the main job on SQLite and a folder, in a temporary directory, with what it does as it goes.
set -euo pipefail
juicefs=$(realpath "$1")
files=${FILES:-3000}
work=$(mktemp -d /tmp/juicefs-demo.XXXXXX)
meta=sqlite3://$work/meta.db mnt=$work/mnt
step() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
finish() {
    mountpoint -q "$mnt" && "$juicefs" umount --force "$mnt"
    rm -rf "$work"
}
trap finish EXIT

step "A volume: metadata in SQLite, data in a folder, no server"
"$juicefs" --quiet format "$meta" demo --bucket "$work/data"
echo "    juicefs format sqlite3://.../meta.db demo --bucket .../data"

step "Mount it"
"$juicefs" mount -d --log "$work/log" --cache-dir "$work/cache" "$meta" "$mnt"
df -h "$mnt" | sed 's/^/    /'

step "Write $files files in 30 directories, and one of 200 MiB"
at=$(date +%s.%N)
python3 - "$mnt" "$files" <<'PY'
import os, sys
root, count = sys.argv[1], int(sys.argv[2])
for n in range(count):
    folder = f"{root}/dir{n % 30}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/file{n}", "wb") as file:
        file.write(f"file {n}\n".encode() * (n % 200 + 1))
    if n % 250 == 249:
        print(f"\r    {n + 1}/{count} files", end="", flush=True)
print()
block = os.urandom(1 << 20)
with open(f"{root}/big", "wb") as file:
    for _ in range(200):
        file.write(block)
PY
echo "    $(echo "$(date +%s.%N) - $at" | bc 2>/dev/null || echo a few) s"

step "Unmount, drop the cache, mount again and read everything back"
"$juicefs" umount "$mnt"
rm -rf "$work/cache"
"$juicefs" mount -d --log "$work/log" --cache-dir "$work/cache" "$meta" "$mnt"
python3 - "$mnt" "$files" <<'PY'
import os, sys
root, count = sys.argv[1], int(sys.argv[2])
for n in range(count):
    with open(f"{root}/dir{n % 30}/file{n}", "rb") as file:
        assert file.read() == f"file {n}\n".encode() * (n % 200 + 1), n
    if n % 250 == 249:
        print(f"\r    {n + 1}/{count} files are right", end="", flush=True)
assert os.path.getsize(f"{root}/big") == 200 << 20
with open(f"{root}/big", "rb") as file:
    first = file.read(1 << 20)
    assert all(file.read(1 << 20) == first for _ in range(199))
print("\n    the big one too")
PY

step "What the volume says of itself"
"$juicefs" --quiet status "$meta" | sed 's/^/    /'

step "Check it"
"$juicefs" umount "$mnt"
"$juicefs" fsck "$meta" 2>&1 | sed 's/^/    /'

step "Done"
cat <<EOF
    Try it yourself:
      $juicefs format sqlite3:///tmp/mine.db mine --bucket /tmp/mine
      $juicefs mount -d sqlite3:///tmp/mine.db /mnt/mine
    With Redis and S3: juicefs format --help
    On Kubernetes:     make demo-kubernetes, docs/kubernetes.md
EOF
