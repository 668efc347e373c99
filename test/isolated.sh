#!/usr/bin/env bash
# Runs a command in its own namespaces (network, mounts with an empty /run and a new BPF file system, processes, cgroups), so that
# tests that create network namespaces, load eBPF programs and attach to cgroups can run concurrently. Anything that the command
# leaves behind is removed when it ends. Usage: test/isolated.sh COMMAND [ARGUMENT...]
set -euo pipefail
[ $# -ge 1 ] || { sed -n 4p "$0" >&2; exit 2; }

# A testbed attaches its hooks to the root of the mounted cgroup2 hierarchy. In a cgroup namespace, the root is the group that the
# command was in when the namespace was created.
hierarchy=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/self/mounts)
[ -n "$hierarchy" ] || { echo "test/isolated.sh: no cgroup v2 is mounted" >&2; exit 2; }
group=$hierarchy/weft-test-$$
mkdir "$group"
# A group can be removed only after its last process has exited, which takes a moment after a kill.
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
