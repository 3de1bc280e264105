#!/usr/bin/env bash
# Gives Nacos 2.3, which comes up with the password "nacos" for its user of the same name, the password of this cluster. Runs in a
# container of compose.yaml before any node starts; does nothing when it was done before.
set -euo pipefail

nacos=http://nacos:8848/nacos/v1

# Prints an access token; fails when Nacos refuses the password.
log_in() {
  curl --fail --silent --max-time 10 --data-urlencode username=nacos --data-urlencode "password=$1" "$nacos/auth/users/login" \
    | sed -nE 's/.*"accessToken":"([^"]+)".*/\1/p' | grep .
}

for attempt in {1..60}; do
  if curl --fail --silent --output /dev/null --max-time 5 "$nacos/console/health/readiness"; then break; fi
  [ "$attempt" -lt 60 ] || { echo "Nacos is not ready" >&2; exit 1; }
  sleep 2
done

if log_in "$NACOS_PASSWORD" >/dev/null; then exit; fi
token=$(log_in nacos) || { echo "Nacos knows neither the cluster's password nor the one that it came with" >&2; exit 1; }
curl --fail --silent --show-error --output /dev/null --max-time 10 --request PUT \
  --data-urlencode username=nacos --data-urlencode "newPassword=$NACOS_PASSWORD" "$nacos/auth/users?accessToken=$token"
log_in "$NACOS_PASSWORD" >/dev/null
echo "Nacos has the cluster's password"
