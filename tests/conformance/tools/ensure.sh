#!/bin/bash
# Print the folder of the conformance programs (h2spec, connectconformance and its reference client and server, gRPC's interop client and server);
# build them first (about a minute, once) if it is not there. The folder is in the cache and named by the hash of go.sum and of this file.
set -euo pipefail
cd "$(dirname "$0")"
cache=${PLENIPO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/plenipo}
bin=$cache/conformance-$(cat go.mod go.sum ensure.sh | sha256sum | cut -c1-16)
if [ ! -d "$bin" ]; then
  command -v go > /dev/null || { echo "missing tool: go (needed to build the conformance programs); install Go 1.26 or newer" >&2; exit 1; }
  mkdir -p "$cache"
  exec 9> "$bin.lock"; flock 9 # two runs at once: the second waits and finds the work done
  if [ ! -d "$bin" ]; then
    echo "building h2spec, connectconformance and gRPC's interop programs into $bin (about a minute, once)" >&2
    rm -rf "$bin.part"; mkdir "$bin.part"
    CGO_ENABLED=0 go build -mod=readonly -buildvcs=false -trimpath -p "${JOBS:-2}" -gcflags=all=-dwarf=false -ldflags '-s -w' -o "$bin.part/" tool >&2
    mv "$bin.part/client" "$bin.part/interop-client"; mv "$bin.part/server" "$bin.part/interop-server"
    mv "$bin.part" "$bin"
  fi
fi
echo "$bin"
