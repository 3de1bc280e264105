#!/usr/bin/env bash
# Builds Apus with the back ends of a cluster and runs this command of it, which starts one on this machine: cluster or chaos.
set -euo pipefail
source "$(dirname "$0")/common.sh"

Scripts/bootstrap.sh --servers
# The object store.
export PATH=$PATH:$PWD/.tools/seaweedfs/bin
swift build -c release --traits Cluster --product apus >&2
exec "$(swift build -c release --traits Cluster --show-bin-path)/apus" "$@"
