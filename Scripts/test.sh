#!/usr/bin/env bash
# What CI runs: lint, build once, every test. The last line is the test runner's summary.
set -euo pipefail
source "$(dirname "$0")/common.sh"

Scripts/bootstrap.sh --tests
Scripts/lint.sh
# With the back ends of a cluster, which are tested against real servers.
swift build --build-tests --traits Cluster
log=$(mktemp)
small=$(mktemp -d)
trap 'rm -rf "$log" "$small"' EXIT

# Runs a command with a file system of eight megabytes for the test of a full disk, where that can be made: in a mount namespace of the
# command's own, which ends with it. Elsewhere that test is left out and says so.
with_small_disk() {
  local mount='mount -t tmpfs -o size=8m tmpfs "$APUS_TEST_SMALL_DISK"'
  if APUS_TEST_SMALL_DISK=$small unshare --mount sh -c "$mount" 2>/dev/null; then
    APUS_TEST_SMALL_DISK=$small unshare --mount sh -c "$mount"' && exec "$@"' sh "$@"
  else
    "$@"
  fi
}

# One after the other: plays start servers and some tests measure time, which a machine of two cores cannot give to ten at once.
if ! with_small_disk swift test --skip-build --traits Cluster --disable-xctest --no-parallel 2>&1 | tee "$log"; then
    # What failed, again, at the end, where whoever sees only the end of the output finds it.
    grep -A 12 'recorded an issue' "$log" >&2 || true
    tail -n 1 "$log" >&2
    exit 1
fi
