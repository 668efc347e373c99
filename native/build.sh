#!/usr/bin/env bash
# Builds the eBPF objects (bpf/build.sh) and the addon (native/build), only what changed.
set -euo pipefail
cd "$(dirname "$0")/.."
bash bpf/build.sh
addon=native/build/Release/weft.node
newest=$(ls -t native/src/* native/binding.gyp "$addon" 2>/dev/null | head -1 || true)
if [ "$newest" != "$addon" ]; then
  log=$(mktemp)
  if ! npx --no-install node-gyp rebuild --directory native >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    exit 1
  fi
  rm -f "$log"
fi
