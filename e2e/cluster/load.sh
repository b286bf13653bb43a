#!/bin/bash
# Gives images to the node: every argument is a docker-archive, as `make image` or pack.py writes.

. "$(dirname "$0")/lib.sh"

[ $# -gt 0 ] || die "load.sh IMAGE.tar..."
for archive in "$@"; do
    [ -r "$archive" ] || die "there is no image archive $archive; make image writes target/juicefs-image.tar"
    # By descriptor 0: the node's mount namespace need not have the file.
    in_node ctr --namespace k8s.io image import --no-unpack=false - <"$archive" >&2
done
