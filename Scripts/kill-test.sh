#!/usr/bin/env bash
# Builds and runs the kill test with these arguments; the report goes to standard output.
set -euo pipefail
source "$(dirname "$0")/common.sh"

Scripts/bootstrap.sh
swift build -c release --product apus >&2
exec "$(swift build -c release --show-bin-path)/apus" kill-test "$@"
