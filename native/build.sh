#!/usr/bin/env bash
# Builds the eBPF objects (bpf/build.sh), the addons (native/build), the CNI plugin (native/cni/build), the readiness probe
# (native/ready/build) and the carrier (native/carrier/build). A target is rebuilt only if a source is newer. Then it runs COMMAND, which
# may need all but the carrier: the carrier may still be built meanwhile.
# usage: native/build.sh [COMMAND [ARGUMENT...]]
set -euo pipefail
cd "$(dirname "$0")/.."
# The carrier: C++, by CMake and ninja, which rebuild what is older than its sources. It takes most of the time, so it is built beside the
# rest, of which each step uses one CPU. Its image has a build of its own, so the other image is built with WITHOUT_CARRIER=1.
build_carrier() {
  local carrier=native/carrier/build log tool
  for tool in cmake ninja protoc; do
    command -v "$tool" >/dev/null || { echo "weft: $tool is missing, which builds the carrier: bash native/prepare.sh" >&2; exit 2; }
  done
  [ -e "$carrier/build.ninja" ] || cmake -S native/carrier -B "$carrier" -G Ninja >/dev/null
  log=$(mktemp)
  if ! ninja -C "$carrier" weft-carrier >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    exit 1
  fi
  rm -f "$log"
}
carrier=
if [ -z "${WITHOUT_CARRIER:-}" ]; then
  build_carrier &
  carrier=$!
  # A failure of the rest does not leave its compilers behind. ninja ends them at SIGTERM.
  trap 'pkill -TERM -P "$carrier" || true' EXIT
fi

bash bpf/build.sh
# Every distribution of Node.js has its headers beside the binary; without nodedir, node-gyp would download them. The addons use
# N-API: built under one version of Node.js, they load in all.
home=$(node -p 'require("node:path").resolve(process.execPath, "../..")')
[ ! -r "$home/include/node/common.gypi" ] || export npm_config_nodedir=$home
addons=(native/build/Release/weft.node native/build/Release/memory.node)
is_current() {
  local addon
  for addon in "${addons[@]}"; do
    [ -e "$addon" ] && [ -z "$(find native/src native/binding.gyp -type f -newer "$addon" -print -quit)" ] || return 1
  done
}
if ! is_current; then
  log=$(mktemp)
  if ! npx --no-install node-gyp rebuild --directory native >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    exit 1
  fi
  rm -f "$log"
fi

# Static: the plugin runs on the node, whose libraries are unknown.
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

# Generates the TypeScript rows of the maps from the objects' BTF. The file is committed, so type checks and lint need no eBPF compiler.
node native/generate-rows.mjs
[ $# -eq 0 ] || "$@"
[ -z "$carrier" ] || wait "$carrier"
trap - EXIT
