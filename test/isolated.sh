#!/usr/bin/env bash
# Runs a command in namespaces of its own, so that tests that make network namespaces, load eBPF programs and hook control
# groups can run side by side: own network, mounts (an empty /run, an own BPF file system), processes and control groups.
# Whatever the command leaves behind ends with it. Usage: test/isolated.sh COMMAND [ARGUMENT...]
set -euo pipefail
[ $# -ge 1 ] || { sed -n 4p "$0" >&2; exit 2; }

# The hooks of a testbed are attached to the root of the cgroup2 hierarchy that is mounted: in a cgroup namespace that is
# the group that the command was in when the namespace was made.
hierarchy=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/self/mounts)
[ -n "$hierarchy" ] || { echo "test/isolated.sh: no cgroup v2 is mounted" >&2; exit 2; }
group=$hierarchy/weft-test-$$
mkdir "$group"
# A group goes once its last process has, which a killed one may take a moment for.
trap 'for _ in $(seq 100); do find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; [ -d "$group" ] || break; sleep 0.1; done' EXIT

inside='
  hierarchy=$1; shift
  umount -l "$hierarchy"
  mount -t cgroup2 none "$hierarchy"
  mount -t tmpfs -o mode=755 none /run
  mount -t bpf bpf /sys/fs/bpf
  ip link set lo up
  exec "$@"'
status=0
sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh "$group" \
  unshare --mount --net --cgroup --pid --fork --mount-proc --kill-child --propagation private \
  bash -ec "$inside" inside "$hierarchy" "$@" || status=$?
exit "$status"
