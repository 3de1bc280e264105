#!/usr/bin/env bash
# Starts a server of its own on free ports in a temporary directory and runs `apus bench` against it, with these arguments.
set -euo pipefail
source "$(dirname "$0")/common.sh"
[ $# -gt 0 ] || set -- pairs

Scripts/bootstrap.sh
swift build -c release --product apus >&2
apus=$(swift build -c release --show-bin-path)/apus
directory=$(mktemp -d)
mkfifo "$directory/ready"
"$apus" serve --data "$directory/data" --http 127.0.0.1:0 --socket 127.0.0.1:0 --tcp 127.0.0.1:0 --log-level warning >"$directory/ready" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true; rm -rf "$directory"' EXIT
# Reading ends without a line when the server ends before it is ready; it has said why.
read -r ready <"$directory/ready" || die "the server did not start"
http=$(printf '%s' "$ready" | sed -nE 's/.*"http":"([^"]*)".*/\1/p')
scenario=$1
shift
"$apus" bench "$scenario" --server "http://$http" "$@"
