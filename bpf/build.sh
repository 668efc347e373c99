#!/usr/bin/env bash
# Builds the eBPF objects into bpf/build. An object is rebuilt only if a source is newer.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p build
machine=$(uname -m)
for source in *.bpf.c; do
  object=build/$(basename "$source" .c).o
  newest=$(ls -t "$source" lib/*.h "$object" 2>/dev/null | head -1 || true)
  [ "$newest" = "$object" ] && continue
  clang -g -O2 -target bpf -mcpu=v3 -I"/usr/include/$machine-linux-gnu" -Wall -Wextra -Werror -Wno-missing-braces \
    -Wno-missing-field-initializers -c "$source" -o "$object"
done
