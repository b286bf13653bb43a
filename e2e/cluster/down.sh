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

# Removes the cgroups that have become empty. Succeeds when nothing of the cluster is on this machine any more, else says
# what is.
cgroup= network=
nothing_left() {
    local left
    [ -z "$cgroup" ] || find /sys/fs/cgroup -depth -type d -path "*$cgroup*" -exec rmdir {} + 2>/dev/null || true
    left=$(
        awk -v state="$STATE/" 'index($5 "/", state) == 1 { print "mount " $5 }' /proc/self/mountinfo
        [ -z "$cgroup" ] || find /sys/fs/cgroup -type d -path "*$cgroup*" -printf 'cgroup %p\n' 2>/dev/null
        [ -z "$network" ] || find /proc/[0-9]*/ns/net -lname "$network" -printf 'process %h\n' 2>/dev/null
    ) || true
    printf %s "$left"
    [ -z "$left" ]
}

if pid=$(node_pid); then
    minors=$(fuse_minors "$pid")
    network=$(readlink "/proc/$pid/ns/net")
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
[ ! -r "$STATE/cgroup" ] || cgroup=$(cat "$STATE/cgroup")
[[ $cgroup == /juicefs-e2e-* ]] || cgroup=
until_true 15 "nothing of the cluster in $STATE is left" nothing_left
# The logs stay, for whoever asks why.
find "$STATE" -mindepth 1 -maxdepth 1 ! -name log -exec rm -rf --one-file-system {} +
