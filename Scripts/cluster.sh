#!/usr/bin/env bash
# Builds Apus with the back ends of a cluster and runs a small one on this machine. Arguments are options of `apus cluster`.
set -euo pipefail
source "$(dirname "$0")/common.sh"

Scripts/bootstrap.sh --servers
swift build -c release --traits Cluster --product apus >&2
exec "$(swift build -c release --traits Cluster --show-bin-path)/apus" cluster "$@"
