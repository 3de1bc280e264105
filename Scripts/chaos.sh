#!/usr/bin/env bash
# Builds Apus with the back ends of a cluster and disturbs one while clients write and read. Arguments are options of `apus chaos`.
set -euo pipefail
source "$(dirname "$0")/common.sh"

Scripts/bootstrap.sh --servers
swift build -c release --traits Cluster --product apus >&2
exec "$(swift build -c release --traits Cluster --show-bin-path)/apus" chaos "$@"
