#!/usr/bin/env bash
# Writes Sources/ApusProtocol/Generated/ from the .proto files. Needed only after a change to them: the result is committed.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v protoc >/dev/null || { echo "protoc is missing: apt-get install protobuf-compiler, or brew install protobuf" >&2; exit 1; }
swift build --product protoc-gen-swift
bin=$(swift build --show-bin-path)
protoc --plugin="$bin/protoc-gen-swift" --proto_path=Sources/ApusProtocol/Socket --proto_path=Sources/ApusProtocol/Peer \
  --swift_opt=Visibility=Public --swift_out=Sources/ApusProtocol/Generated socket.proto peer.proto
