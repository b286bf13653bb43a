#!/bin/bash
# e2e/linked.sh BINARY: what the program asks of a machine: glibc of Debian 12 (2.36) or newer and nothing else.
set -eu
binary=$1
# libgcc_s unwinds panics' stacks; Debian's libc6 depends on its package, so that it is wherever glibc is.
strangers=$(ldd "$binary" | awk '{ print $1 }' | grep -vE '^(linux-vdso|libc|libm|libgcc_s)\.so\.[0-9]+$|^/lib.*/ld-linux[^/]*$' || true)
newest=$(objdump -T "$binary" | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
[ -z "$strangers" ] || { echo "links other libraries: $strangers"; exit 1; }
[ -n "$newest" ] || { echo "no version of glibc found in $binary"; exit 1; }
[ "$(printf '%s\n' "$newest" 2.36 | sort -V | tail -n 1)" = 2.36 ] || { echo "needs glibc $newest, newer than 2.36"; exit 1; }
echo "glibc >= $newest, $(stat -c %s "$binary" | numfmt --to=iec)"
