#!/bin/bash
# Takes a cluster down: kills its first process, and with it go all its processes and mounts; then removes what it
# wrote but for its logs.
#
# down.sh [STATE]

[ -z "${1:-}" ] || export JUICEFS_E2E_STATE=$1
. "$(dirname "$0")/lib.sh"

# The minors of FUSE mounts that the node has and this machine has not.
fuse_minors() {
    comm -23 <(minors_in "/proc/$1/mountinfo") <(minors_in /proc/self/mountinfo)
}
minors_in() { awk '/ - fuse/ { split($3, device, ":"); print device[2] }' "$1" 2>/dev/null | sort -u; }

if pid=$(node_pid); then
    minors=$(fuse_minors "$pid")
    kill -KILL "$pid"
    gone() { ! node_pid >/dev/null; }
    if ! until_true 5 "the node ends" gone 2>/dev/null; then
        # A FUSE mount whose server is stopped can hold a process in the kernel; ending the connection lets go of it.
        for minor in $minors; do
            echo 1 >"/sys/fs/fuse/connections/$minor/abort" 2>/dev/null || true
        done
        until_true 20 "the node ends after its FUSE mounts were cut" gone || die "the node of $STATE does not end (pid $pid)"
    fi
fi
[ -d "$STATE" ] || exit 0
if [ -r "$STATE/cgroup" ]; then
    cgroup=$(cat "$STATE/cgroup")
    case $cgroup in
        /juicefs-e2e-*) find /sys/fs/cgroup -depth -type d -path "*$cgroup*" -exec rmdir {} + 2>/dev/null || true ;;
    esac
fi
# The logs stay, for whoever asks why.
find "$STATE" -mindepth 1 -maxdepth 1 ! -name log -exec rm -rf --one-file-system {} +
