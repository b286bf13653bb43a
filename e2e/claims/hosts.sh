#!/bin/bash
# hosts.sh ADDRESS NAME... -- COMMAND...: runs COMMAND where every NAME is at ADDRESS, in a mount namespace of its own.
set -eu
address=$1
shift
hosts=$(mktemp)
cat /etc/hosts >"$hosts"
while [ "$1" != -- ]; do
    echo "$address $1" >>"$hosts"
    shift
done
shift
export hosts
exec unshare --mount --propagation unchanged bash -c 'mount --bind "$hosts" /etc/hosts && rm -f "$hosts" && exec "$@"' hosts "$@"
