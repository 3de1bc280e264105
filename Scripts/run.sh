#!/usr/bin/env bash
# Builds and starts a server with its data in ./data. Arguments are settings of `apus serve`.
set -euo pipefail
source "$(dirname "$0")/common.sh"

Scripts/bootstrap.sh
[ -x .build/release/apus ] || say "building; the first time this takes some minutes"
swift build -c release --product apus >&2
apus=$(swift build -c release --show-bin-path)/apus
cat >&2 <<TEXT

  Apus starts; its data is in ./data, Ctrl-C stops it. In two other terminals:

    alias apus=$apus
    apus register --server http://127.0.0.1:8080 --username alice --profile alice     (and bob, with --profile bob)
    apus chat --profile alice

  The README has the whole tour; '$apus serve --help' lists the settings.

TEXT
exec "$apus" serve --data ./data "$@"
