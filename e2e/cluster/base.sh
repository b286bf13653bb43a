#!/bin/bash
# Prints the path of a tar with a minimal Debian 12 and the named packages, making it first if the cache has none.
# `cargo xtask image` takes it for the Dockerfile's FROM and its apt-get line, the cases' toolbox image too.
#
# base.sh [PACKAGE...]

. "$(dirname "$0")/lib.sh"

name=debian-bookworm
for package in $(printf '%s\n' "$@" | sort); do name+=-$package; done
final=$CACHE/$name
if [ ! -e "$final/rootfs.tar" ]; then
    command -v debootstrap >/dev/null || "$CLUSTER_DIR/build.sh" packages
    say "making the base system $name ..."
    mkdir -p "$CACHE"
    scratch=$(mktemp -d "$CACHE/.making.XXXXXX")
    root=$scratch/root
    include=$(IFS=,; printf '%s' "$*")
    if ! debootstrap --variant=minbase ${include:+--include="$include"} bookworm "$root" http://deb.debian.org/debian >"$scratch.log" 2>&1; then
        tail -n 20 "$scratch.log" >&2
        rm -rf "$scratch"
        die "debootstrap failed; the whole output is in $scratch.log"
    fi
    rm -rf "$scratch.log" "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
    # One time for all files and one order of names: the same packages give the same layer.
    tar --numeric-owner --sort=name --mtime=@0 --format=gnu -C "$root" -cf "$scratch/rootfs.tar" .
    rm -rf "$root"
    chmod 755 "$scratch"
    # Another builder may have been faster; its result is as good.
    mv -T "$scratch" "$final" 2>/dev/null || rm -rf "$scratch"
fi
printf '%s\n' "$final/rootfs.tar"
