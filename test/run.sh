#!/usr/bin/env bash
# Runs compiled tests: unit tests together, those that need the kernel or namespaces one file at a time. `interop` is not in
# `all`: it needs the environment variable ZTUNNEL to name a program that no package registry has. Nor are `cluster` and
# `control`: they build Kubernetes; nor `bench`: it fetches Envoy and builds fortio.
# usage: test/run.sh [unit|lint|fuzz|bpf|threats|netns|soak|vm|all|interop|control|cluster|bench]
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
status=0
case $what in
  unit | lint | fuzz | bpf | threats | netns | soak | vm | all | interop | control | cluster | bench) ;;
  *)
    echo "test/run.sh: no group $what; there are unit, lint, fuzz, bpf, threats, netns, soak, vm, all, interop, control, cluster and bench" >&2
    exit 2
    ;;
esac

group() {
  local name=$1 concurrency=$2
  shift 2
  local files
  mapfile -t files < <(find "$@" -name '*.test.js' 2>/dev/null | sort)
  if [ "${#files[@]}" -eq 0 ]; then
    echo "no tests in group $name" >&2
    status=1
    return
  fi
  echo "== $name: ${#files[@]} files"
  local log
  log=$(mktemp)
  node --test --test-reporter=spec --test-concurrency="$concurrency" "${files[@]}" | tee "$log" || status=1
  if grep -qE '^. (skipped|todo) [1-9]' "$log"; then
    echo "tests were skipped in group $name: what cannot run has to fail" >&2
    status=1
  fi
  rm -f "$log"
}

[ "$what" = all ] || [ "$what" = unit ] && group unit 2 dist/src dist/daemonset dist/control dist/bench dist/test/cluster/conformance
[ "$what" = all ] || [ "$what" = lint ] && group lint 1 dist/test/lint
[ "$what" = all ] || [ "$what" = fuzz ] && group fuzz 1 dist/test/fuzz
[ "$what" = all ] || [ "$what" = bpf ] && group bpf 1 dist/test/bpf
# Files by the rows of the table of actors in docs/security.md.
[ "$what" = all ] || [ "$what" = threats ] && group threats 1 dist/test/threats
[ "$what" = all ] || [ "$what" = netns ] && group netns 1 dist/test/netns
[ "$what" = all ] || [ "$what" = soak ] && group soak 1 dist/test/soak
if [ "$what" = all ] || [ "$what" = vm ]; then
  bash native/prepare.sh vm
  group vm 1 dist/test/vm
fi
[ "$what" = control ] && group control 1 dist/test/control
[ "$what" = bench ] && group bench 1 dist/test/bench
[ "$what" = cluster ] && group cluster 1 dist/test/cluster/*.test.js
[ "$what" = interop ] && group interop 1 dist/test/interop
exit "$status"
