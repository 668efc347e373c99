#!/usr/bin/env bash
# Runs compiled tests. `npm test` runs `quick`; `all` runs everything that this machine can run. Files that need the kernel or
# network namespaces run in their own namespaces (test/isolated.sh), concurrently, longest first. TEST_JOBS sets how many run at
# once (default: CPUs + 1). `interop` is in neither group: the environment variable ZTUNNEL must name a program that no package
# registry has. NODE_VERSION=22 runs the tests under that version (native/node.sh).
# Testbeds relay by the carrier. The group `carrier` compares it with the TypeScript relay, and runs files of netns and threats whose
# connections a relay carries on the TypeScript relay as well.
# `native` builds and runs the carrier's unit tests, plain and under sanitizers, and its fuzz targets (native/carrier/test).
# usage: test/run.sh [unit|lint|fuzz|http2|bpf|threats|netns|traffic|carrier|dev|observe|quick|native|soak|vm|control|bench|cluster|all|interop|FILE...]
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -n "${NODE_VERSION:-}" ]; then
  PATH=$(native/node.sh "$NODE_VERSION"):$PATH
  export PATH
fi

# The failed tests of a job's output, each with the first lines of its error: run.sh repeats them at its end, because the beginning of a
# long output is often cut.
failed_tests() {
  local name=$1 log=$2 found
  found=$(
    awk -v name="$name" '
      /failing tests:$/ { listed = 1; next }
      listed && /^✖ / { sub(/ \([0-9.]+ms\)$/, ""); print name ": " $0; left = 8; next }
      /^FAILED  / { print name ": " $0; next }
      /^ +at / { left = 0 }
      left > 0 && NF { print "    " substr($0, 1, 400); left-- }
    ' "$log" | head -60
  )
  [ -n "$found" ] || found="$name: $(tail -3 "$log")"
  echo "$found"
}

# A job is NAME|WRAPPER|ARGUMENTS OF node --test. When it ends, its output is printed as one block. Of several jobs, those that passed
# print one line.
job() {
  local name=$1 wrapper=$2 log status=0 passed failed began=$SECONDS
  shift 2
  log=$(mktemp "$results/XXXXXX")
  if [ "$wrapper" = native/carrier/test ]; then
    "$wrapper" "$@" >"$log" 2>&1 || status=$?
    passed=$(sed -nE '$s/^([0-9]+) passed, [0-9]+ failed$/\1/p' "$log")
    failed=$(sed -nE '$s/^[0-9]+ passed, ([0-9]+) failed$/\1/p' "$log")
  else
    # shellcheck disable=SC2086 # no wrapper is no word
    $wrapper node --test --test-reporter=spec "$@" >"$log" 2>&1 || status=$?
    passed=$(sed -nE 's/^[^ ]+ pass ([0-9]+)$/\1/p' "$log" | tail -1)
    failed=$(sed -nE 's/^[^ ]+ fail ([0-9]+)$/\1/p' "$log" | tail -1)
  fi
  if grep -qE '^[^ ]+ (skipped|todo) [1-9]' "$log"; then
    echo "tests were skipped in $name: a test that cannot run must fail" >>"$log"
    status=1
  fi
  # A file without tests, or one that killed the runner, counts as failed.
  if [ -z "$passed" ]; then
    echo "$name: the test runner printed no result" >>"$log"
    status=1 passed=0 failed=1
  fi
  [ "$status" = 0 ] || [ "$failed" != 0 ] || failed=1
  {
    flock 9
    echo "== $name ($((SECONDS - began)) s): $passed passed, $failed failed"
    [ "$status" = 0 ] && [ -n "$quiet" ] || cat "$log"
    [ "$status" = 0 ] || failed_tests "$name" "$log" >>"$results/failures"
    echo "$passed $failed $((SECONDS - began)) $name" >>"$results/sum"
  } 9>>"$results/lock"
  rm -f "$log"
  return "$status"
}
export -f job failed_tests

# Reads jobs, one per line, and runs $1 of them at a time.
run_jobs() {
  # A failed job does not stop the others: xargs continues, and its exit status reports the failure.
  xargs -d '\n' -P "$1" -I{} bash -c 'IFS="|" read -r name wrapper arguments <<<"$1"; eval "set -- $arguments"; job "$name" "$wrapper" "$@" || exit 1' job {}
}

# Longest first (test/order.txt); files that are not listed there are assumed to be long.
by_length() {
  awk 'FILENAME != "-" { place[$1] = FNR; next } { split($0, part, "|"); print (part[1] in place ? place[part[1]] : 0) "|" $0 }' test/order.txt - |
    sort -t '|' -k 1,1n -s | cut -d '|' -f 2-
}

files_of() {
  find "$@" -name '*.test.js' 2>/dev/null | sort
}
# The files of a job run one at a time, unless CONCURRENCY says otherwise.
together() {
  local name=$1
  shift
  echo "$name||--test-concurrency=${CONCURRENCY:-1} $*"
}
apart() {
  local file
  for file in "$@"; do
    case $file in
      # LeakSanitizer's tracer is killed by a signal in a PID namespace, so this test runs without one. It pins under a unique name.
      */bpf/leaks.test.js) echo "${file#dist/}||$file" ;;
      *) echo "${file#dist/}|test/isolated.sh|$file" ;;
    esac
  done
}
# Once more with the other relay.
on_typescript() {
  local file
  for file in netns/{capture,early-response,external,handover,kernel-policy,stop,upgrade} \
    threats/{10-killed,3-pod-root,4-unauthenticated-relay,5-mesh-peer}; do
    echo "typescript:test/$file.test.js|env WEFT_RELAY=typescript test/isolated.sh|dist/test/$file.test.js"
  done
}
unit_files() {
  files_of dist/src dist/daemonset dist/control dist/bench dist/test/cluster/conformance
}
# Two halves, so that the unit tests are not one long job that all others wait for. Each runs two files at a time: most files wait for
# timers more than they compute.
unit() {
  local shard
  for shard in 1 2; do
    # shellcheck disable=SC2046
    CONCURRENCY=2 together "unit-$shard" $(unit_files | awk "NR % 2 == $shard - 1")
  done
}

native() {
  local kind
  for kind in plain asan fuzz tsan; do echo "native-$kind|native/carrier/test|$kind"; done
}

# shellcheck disable=SC2046
jobs_of() {
  case $1 in
    unit) unit ;;
    native) native ;;
    lint) together lint $(files_of dist/test/lint) ;;
    fuzz | http2) together "$1" $(files_of "dist/test/$1") ;;
    # Files of threats are numbered by the rows of the table of actors in docs/security.md.
    bpf | threats | netns | traffic | dev | observe) apart $(files_of "dist/test/$1") ;;
    carrier)
      apart $(files_of dist/test/carrier)
      [ "${WEFT_RELAY:-}" = carrier ] || on_typescript
      ;;
    soak | vm | control | bench | interop) together "$1" $(files_of "dist/test/$1") ;;
    cluster) together cluster $(find dist/test/cluster -maxdepth 1 -name '*.test.js' | sort) ;;
  esac
}

what=${1:-quick}
case $what in
  quick) groups=(unit lint fuzz http2 bpf threats netns) ;;
  all) groups=(unit lint fuzz http2 bpf threats netns traffic carrier dev observe native soak vm control bench cluster) ;;
  unit | lint | fuzz | http2 | bpf | threats | netns | traffic | carrier | dev | observe | native | soak | vm | control | bench | cluster | interop) groups=("$what") ;;
  *.test.js) groups=() ;;
  *)
    sed -n 's/^# usage/usage/p' "$0" >&2
    exit 2
    ;;
esac

results=$(mktemp -d)
export results
trap 'rm -rf "$results"' EXIT
status=0
parallel=()
serial=()
[ "${#groups[@]}" -gt 0 ] || mapfile -t parallel < <(apart "$@")
for group in "${groups[@]}"; do
  mapfile -t jobs < <(jobs_of "$group")
  if [ "${#jobs[@]}" -eq 0 ] || [[ ${jobs[0]} == *'--test-concurrency='?' ' ]]; then
    echo "no tests in group $group: npm run build" >&2
    status=1
    continue
  fi
  case $group in
    unit | lint | fuzz | http2 | bpf | threats | netns | traffic | carrier | dev | observe) parallel+=("${jobs[@]}") ;;
    *) serial+=("${jobs[@]}") ;;
  esac
  case $group in
    vm | native | observe) bash native/prepare.sh "$group" ;;
  esac
done
# Files that measure state shared by all namespaces (TCP memory): nothing else may run at the same time.
alone='^test/netns/kernel-splice\.test\.js\|'
beside() { printf '%s\n' "${parallel[@]}" | { grep -vE "$alone" || true; }; }
by_itself() { printf '%s\n' "${parallel[@]}" | { grep -E "$alone" || true; }; }
quiet=
[ "$((${#parallel[@]} + ${#serial[@]}))" -le 1 ] || quiet=1
export quiet
if [ "${#parallel[@]}" -gt 0 ]; then
  beside | by_length | run_jobs "${TEST_JOBS:-$(($(nproc) + 1))}" || status=1
  by_itself | run_jobs 1 || status=1
fi
[ "${#serial[@]}" -eq 0 ] || printf '%s\n' "${serial[@]}" | run_jobs 1 || status=1

echo
echo "seconds, passed, failed of each, under Node.js $(node --version):"
sort -k 3,3nr "$results/sum" | awk '{ printf "%6d %5d %3d  %s\n", $3, $1, $2, $4 }'
[ ! -s "$results/failures" ] || { echo; echo "failed:"; cat "$results/failures"; }
awk '{ passed += $1; failed += $2 } END { printf "%d passed, %d failed\n", passed, failed }' "$results/sum"
exit "$status"
