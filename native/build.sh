#!/usr/bin/env bash
# Builds the eBPF objects (bpf/build.sh), the addon (native/build), the CNI plugin (native/cni/build) and the readiness probe
# (native/ready/build), only what changed.
set -euo pipefail
cd "$(dirname "$0")/.."
bash bpf/build.sh
# Headers stand beside the binary in every distribution of Node.js; node-gyp would fetch them. The addon is N-API: built under
# one version, it is loaded by all.
home=$(node -p 'require("node:path").resolve(process.execPath, "../..")')
[ ! -r "$home/include/node/common.gypi" ] || export npm_config_nodedir=$home
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

# Static: it runs on the node, whatever libraries that has.
plugin=native/cni/build/weft-cni
if [ ! "$plugin" -nt native/cni/weft-cni.c ]; then
  mkdir -p "$(dirname "$plugin")"
  gcc -static -O2 -s -Wall -Wextra -Werror -o "$plugin" native/cni/weft-cni.c -ljson-c
fi

# The agent's readiness probe runs every two seconds, in an image without a shell.
ready=native/ready/build/weft-ready
if [ ! "$ready" -nt native/ready/weft-ready.c ]; then
  mkdir -p "$(dirname "$ready")"
  gcc -static -O2 -s -Wall -Wextra -Werror -o "$ready" native/ready/weft-ready.c
fi

# The agent's side of the maps, as the objects have them. The file is committed, so that types and lint need no compiler for eBPF.
node native/generate-rows.mjs
