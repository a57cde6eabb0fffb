#!/bin/bash
# Print the path of h3peer, the HTTP/3 client and upstream of the parity cases; build it first (some ten seconds, once) if it is not there. It is in the
# cache, named by the hash of its source.
set -euo pipefail
cd "$(dirname "$0")"
cache=${PLENIPO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/plenipo}
bin=$cache/h3peer-$(cat ./*.go go.mod go.sum ensure.sh | sha256sum | cut -c1-16)
if [ ! -x "$bin" ]; then
  command -v go > /dev/null || { echo "missing tool: go (needed to build the HTTP/3 peer of the parity tests); install Go 1.26 or newer" >&2; exit 1; }
  mkdir -p "$cache"
  exec 9> "$bin.lock"; flock 9 # two runs at once: the second waits and finds the work done
  if [ ! -x "$bin" ]; then
    echo "building h3peer into $bin (once)" >&2
    CGO_ENABLED=0 go build -mod=readonly -buildvcs=false -trimpath -p "${JOBS:-2}" -ldflags '-s -w' -o "$bin.part" . >&2
    mv "$bin.part" "$bin"
  fi
fi
echo "$bin"
