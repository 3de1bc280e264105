#!/usr/bin/env bash
# Writes Deploy/.env, which compose.yaml reads: random secrets, the registry, the name under which clients reach this machine.
#
#   Deploy/make-secrets.sh [--registry zookeeper|nacos] [--host NAME] [--output FILE]
#   Deploy/make-secrets.sh --rotate [--output FILE]     replaces the secret by which nodes know each other, and nothing else
set -euo pipefail
umask 077

say() { printf '%s\n' "make-secrets: $*" >&2; }
die() { say "$*"; exit 1; }

# 256 bits, in letters and digits that mean nothing in a URL.
random() { od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n'; }

registry=zookeeper host=localhost output=$(dirname "$0")/.env rotate=
while [ $# -gt 0 ]; do
  case "$1" in
    --rotate) rotate=yes; shift; continue ;;
    --registry | --host | --output) [ $# -ge 2 ] || die "$1 needs a value" ;;
    *) die "there is no option $1; the head of $0 says how to use it" ;;
  esac
  case "$1" in
    --registry) registry=$2 ;;
    --host) host=$2 ;;
    --output) output=$2 ;;
  esac
  shift 2
done

# Written beside it and then moved: whoever reads it sees the old or the new one.
new=$output.new
trap 'rm -f "$new"' EXIT

if [ -n "$rotate" ]; then
  [ -e "$output" ] || die "there is no $output"
  sed "s/^CLUSTER_SECRET=.*/CLUSTER_SECRET=$(random)/" "$output" >"$new"
  mv "$new" "$output"
  say "$output has a new CLUSTER_SECRET; README.md says how to bring it to the nodes"
  exit
fi

[ ! -e "$output" ] || die "$output exists: the data of the containers is bound to its passwords. Remove it only together with the volumes."
nacos_password=$(random)
case "$registry" in
  zookeeper) registry_url=zookeeper://zookeeper:2181/apus ;;
  nacos) registry_url="nacos://nacos:$nacos_password@nacos:8848?group=apus" ;;
  *) die "--registry is zookeeper or nacos, not $registry" ;;
esac
cat >"$new" <<TEXT
# Secrets of this cluster, written by make-secrets.sh. Not for version control.
CLUSTER_SECRET=$(random)
MARIADB_PASSWORD=$(random)
MARIADB_ROOT_PASSWORD=$(random)
REDIS_PASSWORD=$(random)
MINIO_PASSWORD=$(random)
NACOS_PASSWORD=$nacos_password
# Base64, as Nacos wants it: of 64 characters, without padding.
NACOS_TOKEN_KEY=$(random)
NACOS_IDENTITY=$(random)

# Which registry runs: zookeeper or nacos. The two lines belong together.
COMPOSE_PROFILES=$registry
CLUSTER_REGISTRY=$registry_url

# How clients reach this machine. The ports of the socket nodes are in compose.yaml.
PUBLIC_HOST=$host
PUBLIC_PORT=8080
TEXT
mv "$new" "$output"
say "wrote $output"
