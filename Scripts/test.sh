#!/usr/bin/env bash
# What CI runs: lint, build once, every test. The last line is the test runner's summary.
set -euo pipefail
source "$(dirname "$0")/common.sh"

Scripts/bootstrap.sh --tests
Scripts/lint.sh
swift build --build-tests
# One after the other: plays start servers and some tests measure time, which a machine of two cores cannot give to ten at once.
swift test --skip-build --disable-xctest --no-parallel
