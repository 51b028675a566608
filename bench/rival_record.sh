#!/usr/bin/env bash
# The shortest honest script for "this record, and wait until it is answered".
# Usage: rival_record.sh REPO ZONE NAME ADDRESS PORT KEYFILE   (no sleeps)
set -euo pipefail
repo=$1 zone=$2 name=$3 address=$4 port=$5 key=$6
sed -i "/^$name:/,/value:/s#value: .*#value: $address#" "$repo/dns/$zone.yaml"
git -C "$repo" -c user.name=u -c user.email=u@localhost commit -q -am "Set $name to $address"
printf 'server 127.0.0.1 %s\nzone %s\nupdate delete %s.%s A\nupdate add %s.%s 300 A %s\nsend\n' \
  "$port" "$zone" "$name" "$zone" "$name" "$zone" "$address" | nsupdate -k "$key"
until [ "$(dig +short +tcp @127.0.0.1 -p "$port" "$name.$zone" A)" = "$address" ]; do :; done
