#!/usr/bin/env bash
# Builds the eBPF objects (bpf/build) and the addon (native/build), only what changed.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p bpf/build
machine=$(uname -m)
for source in bpf/*.bpf.c; do
  object=bpf/build/$(basename "$source" .c).o
  newest=$(ls -t "$source" bpf/lib/*.h "$object" 2>/dev/null | head -1 || true)
  [ "$newest" = "$object" ] && continue
  clang -g -O2 -target bpf -mcpu=v3 -I"/usr/include/$machine-linux-gnu" -Wall -Wextra -Werror -Wno-missing-braces \
    -Wno-missing-field-initializers -c "$source" -o "$object"
done
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
