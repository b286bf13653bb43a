#!/bin/sh
# Renders deploy/juicefs.yaml from charts/juicefs, for plain `kubectl apply -f`. With --check it only compares.
# HELM names the helm binary; without it, the one that e2e/cluster built is taken, or else one on the PATH.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
helm=${HELM:-}
if [ -z "$helm" ]; then
  for candidate in "${JUICEFS_E2E_CACHE:-$HOME/.cache/juicefs-e2e}"/tools-*/helm "$(command -v helm || true)"; do
    if [ -x "$candidate" ]; then helm=$candidate; break; fi
  done
fi
if [ -z "$helm" ]; then
  echo "render.sh: no helm found; build it with e2e/cluster/build.sh or set HELM" >&2
  exit 1
fi
out=$(mktemp)
trap 'rm -f "$out"' EXIT
# `cargo xtask tidy` computes it again, so that a chart without its rendering is found where helm is not at hand.
digest=$(cd "$root/charts/juicefs" && find . -type f -printf '%P\n' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d ' ' -f 1)
{
  echo "# Generated from charts/juicefs ($digest) by deploy/render.sh. Do not edit."
  echo "---"
  echo "apiVersion: v1"
  echo "kind: Namespace"
  echo "metadata:"
  echo "  name: juicefs-system"
  "$helm" template juicefs "$root/charts/juicefs" --namespace juicefs-system --kube-version 1.34.0 |
    sed -e '/^ *helm.sh\/chart:/d' -e '/^ *app.kubernetes.io\/instance:/d' -e 's|\(app.kubernetes.io/managed-by\): Helm|\1: kubectl|'
} >"$out"
if [ "${1:-}" = --check ]; then
  if ! diff -u "$root/deploy/juicefs.yaml" "$out"; then
    echo "render.sh: deploy/juicefs.yaml is old; run deploy/render.sh" >&2
    exit 1
  fi
else
  cp "$out" "$root/deploy/juicefs.yaml"
  chmod 644 "$root/deploy/juicefs.yaml"
fi
