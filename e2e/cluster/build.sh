#!/bin/bash
# Makes everything that a cluster is put together from, once: Debian packages, Go programs, images, the base
# system of our image. Cold about 9 minutes on two cores, warm nothing.
# Everything lands in the cache (JUICEFS_E2E_CACHE, default ~/.cache/juicefs-e2e), under names that change with
# the sources, so that an old cache is never wrong, only unused.
#
# build.sh [all|packages|go|images|servers]...

. "$(dirname "$0")/lib.sh"

export GOTOOLCHAIN=local CGO_ENABLED=0

# Yields to whatever else is built on this machine.
gentle_go() {
    nice -n 10 go build -trimpath -buildvcs=false -mod=readonly "$@"
}

# Runs the builder of one artefact in a scratch folder and publishes it by a rename, so that a half-made
# artefact never has the final name and two builders at once do no harm.
publish() {
    local target=$1 scratch failed=
    shift
    [ -e "$target" ] && return 0
    mkdir -p "$CACHE"
    scratch=$(mktemp -d "$CACHE/.making.XXXXXX")
    say "building ${target##*/} ..."
    # As a job of its own, not as a condition: bash drops `set -e` inside conditions.
    "$@" "$scratch" >"$scratch.log" 2>&1 &
    wait $! || failed=1
    if [ -n "$failed" ]; then
        tail -n 40 "$scratch.log" >&2
        rm -rf "$scratch"
        die "building ${target##*/} failed; the whole output is in $scratch.log"
    fi
    rm -f "$scratch.log"
    chmod 755 "$scratch"
    mv -T "$scratch" "$target" 2>/dev/null || rm -rf "$scratch"
    [ -e "$target" ] || die "$target could not be put in place"
}

# ---- Debian

declare -A PACKAGE_OF=(
    [etcd]=etcd-server [containerd]=containerd [runc]=runc [/usr/lib/cni/bridge]=containernetworking-plugins
    [iptables]=iptables [conntrack]=conntrack [debootstrap]=debootstrap [redis-server]=redis-server [openssl]=openssl
    [psql]=postgresql [fusermount3]=fuse3 [gcc]=gcc [ip]=iproute2 [nsenter]=util-linux [python3]=python3 [jq]=jq
)

packages() {
    local program missing=()
    for program in "${!PACKAGE_OF[@]}"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || missing+=("${PACKAGE_OF[$program]}")
    done
    [ ${#missing[@]} = 0 ] && return 0
    say "installing Debian packages: ${missing[*]}"
    # No service may start: the node runs its own, in its own namespaces.
    local policy=/usr/sbin/policy-rc.d made=
    [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy; made=1; }
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null
    [ -z "$made" ] || rm -f $policy
}

# ---- Go

go_kube() {
    local v=k8s.io/component-base/version
    cd "$CLUSTER_DIR/parts/kube"
    gentle_go -ldflags "-s -w -X $v.gitVersion=v$KUBE_VERSION -X $v.gitMajor=${KUBE_VERSION%%.*} -X $v.gitMinor=$(cut -d. -f2 <<<"$KUBE_VERSION")" \
        -o "$1/kube" .
    local name
    for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do ln -s kube "$1/$name"; done
}

# The tools of a module that has nothing of its own: `go build tool` names them by their last path part.
go_tools() {
    cd "$CLUSTER_DIR/parts/$1"
    gentle_go -ldflags '-s -w' -o "$2/" tool
}

go_pause() { gcc -O2 -static -s -o "$1/pause" "$CLUSTER_DIR/parts/pause/pause.c"; }

go_parts() {
    command -v go >/dev/null || die "go is missing: install Go 1.25 or later, the Kubernetes parts are built from Go modules"
    publish "$(part pause)" go_pause
    publish "$(part tools)" go_tools tools
    publish "$(part csi)" go_tools csi
    publish "$(part coredns)" go_tools coredns
    publish "$(part kube)" go_kube
}

# ---- images and the base system

base() { "$CLUSTER_DIR/base.sh" ca-certificates fuse3; }

image_pause() {
    install -D -m 755 "$(part pause)/pause" "$1/root/pause"
    "$CLUSTER_DIR/pack.py" --tag "$PAUSE_IMAGE" --root "$1/root" --entrypoint /pause --output "$1/image.tar"
    rm -rf "$1/root"
}

# The sidecars of the controller: one image each, as upstream's are.
images_of_sidecars() {
    local name
    for name in provisioner resizer; do
        install -D -m 755 "$(part csi)/csi-$name" "$1/root/csi-$name"
        mkdir -m 1777 "$1/root/tmp"
        case $name in
            provisioner) "$CLUSTER_DIR/pack.py" --tag "$PROVISIONER_IMAGE" --root "$1/root" --entrypoint /csi-provisioner --output "$1/provisioner.tar" ;;
            resizer) "$CLUSTER_DIR/pack.py" --tag "$RESIZER_IMAGE" --root "$1/root" --entrypoint /csi-resizer --output "$1/resizer.tar" ;;
        esac
        rm -rf "$1/root"
    done
}

# The application of the cases: the base system, which has a shell and what a shell script writes files with.
# Its layer is the base of our image, byte for byte, so a node unpacks it once.
image_toolbox() {
    "$CLUSTER_DIR/pack.py" --tag "$TOOLBOX_IMAGE" --layer "$(base)" --command 'sleep infinity' --output "$1/image.tar"
}

images() {
    publish "$(part pause)-image" image_pause
    publish "$(part csi)-images" images_of_sidecars
    publish "$TOOLBOX_ARCHIVE" image_toolbox
}

# ---- the peer that judges us, and an S3 server

servers() { [ -x "$PEER" ] && [ -x "$S3_SERVER" ] || "$REPOSITORY/e2e/tools/install.sh" >&2; }

for step in "${@:-all}"; do
    case $step in
        all) packages; servers; go_parts; images ;;
        packages) packages ;;
        go) go_parts ;;
        images) go_parts; images ;;
        servers) servers ;;
        *) die "build.sh: unknown step '$step'" ;;
    esac
done
