#!/usr/bin/env bash
# Prepares a Debian machine: installs the packages and npm modules that the build, the tests and the demo need. Fast if nothing
# is missing. If a requirement cannot be installed, the script prints one line and exits with code 2 before it changes anything.
# usage: native/prepare.sh [vm|native|observe]
set -euo pipefail
cd "$(dirname "$0")/.."

stop() {
  echo "weft: $1" >&2
  exit 2
}

[ "$(uname -s)" = Linux ] || stop "this is $(uname -s): Weft needs Linux"
[ "$(id -u)" = 0 ] || stop "not root: run it again as root (eBPF and network namespaces need it)"
kernel=$(uname -r)
major=${kernel%%.*} rest=${kernel#*.}
minor=${rest%%[!0-9]*}
[ "$major" -gt 6 ] || { [ "$major" -eq 6 ] && [ "$minor" -ge 1 ]; } || stop "kernel $kernel is too old: Linux 6.1 or later is needed"
[ -r /sys/kernel/btf/vmlinux ] || stop "the kernel has no BTF: boot one built with CONFIG_DEBUG_INFO_BTF=y"
grep -q ' cgroup2 ' /proc/self/mounts ||
  stop "no cgroup v2 is mounted: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
command -v node >/dev/null || stop "node is missing: install Node.js 20 or later"
node -e 'const [a,b]=process.versions.node.split(".").map(Number); process.exit(a>20||(a===20&&b>=12)?0:1)' ||
  stop "node $(node --version) is too old: Node.js 20.12 or later is needed"

packages=(build-essential python3 clang llvm libbpf-dev libelf-dev libjson-c-dev zlib1g-dev linux-libc-dev bpftool iproute2 util-linux procps
  cmake ninja-build pkg-config libssl-dev libnghttp2-dev libprotobuf-dev protobuf-compiler libseccomp-dev
  nftables nginx-light redis-server curl tcpdump iperf3 openssl ca-certificates)
case ${1:-} in
  # test/vm/run boots Debian's kernel; nothing else needs it.
  vm) packages+=(qemu-system-x86 linux-image-amd64 busybox-static cpio kmod) ;;
  # Unit tests of the carrier.
  native) packages+=(doctest-dev) ;;
  # Tests of the page and of dashboards: a browser, and a Prometheus that reads what the programs count.
  observe) packages+=(chromium prometheus fonts-dejavu-core) ;;
esac
# It outlives the function that may create it: an exit trap removes it.
guard=/usr/sbin/policy-rc.d
install_missing() {
  local package log missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  command -v apt-get >/dev/null || stop "packages are missing (${missing[*]}) and this is not Debian: install them by hand"
  echo "installing: ${missing[*]}" >&2
  # policy-rc.d keeps dpkg from starting the packages' servers as services: only the demo and the tests run them.
  if [ ! -e "$guard" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod +x "$guard"
    trap 'rm -f "$guard"' EXIT
  fi
  log=$(mktemp)
  if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -20 "$log" >&2
    stop "packages could not be installed: ${missing[*]}"
  fi
  rm -f "$log"
}
install_missing "${packages[@]}"
# Sanitizers and libFuzzer. Their package is named after the version of clang, which is known once clang is installed.
if [ "${1:-}" = native ]; then
  version=$(clang -dumpversion)
  install_missing "libclang-rt-${version%%.*}-dev"
fi

stamp=node_modules/.weft-lock
if [ ! -f "$stamp" ] || ! cmp -s package-lock.json "$stamp"; then
  echo "installing npm packages" >&2
  npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2
  cp package-lock.json "$stamp"
fi
