#!/bin/bash
# Print the folder of kube-apiserver, kube-controller-manager and etcd; build them first (some minutes, once) if it is not there.
# The folder is in the cache and named by the hash of go.sum and build.sh, so that a changed recipe is a new folder.
set -euo pipefail
cd "$(dirname "$0")"
cache=${PLENIPO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/plenipo}
bin=$cache/kube-$(cat go.sum build.sh | sha256sum | cut -c1-16)
whole() { [ -x "$bin/kube-apiserver" ] && [ -x "$bin/kube-controller-manager" ] && [ -x "$bin/etcd" ]; }
if ! whole; then
  mkdir -p "$cache"
  exec 9> "$bin.lock"; flock 9 # two runs at once: the second waits and finds the work done
  if ! whole; then
    for tool in go openssl curl python3; do command -v "$tool" > /dev/null || { echo "missing tool: $tool (needed to build and start a Kubernetes API server for the tests)" >&2; exit 1; }; done
    echo "building kube-apiserver, kube-controller-manager and etcd into $bin (some minutes, once)" >&2
    rm -rf "$bin.part"; BIN=$bin.part ./build.sh >&2
    rm -rf "$bin"; mv "$bin.part" "$bin"
  fi
fi
echo "$bin"
