#!/usr/bin/env bash
# The shortest honest script for "this version, pushed".
# Usage: rival_push.sh CLONE FILE VERSION
set -euo pipefail
repo=$1 file=$2 version=$3
sed -i "s#^\( *tag: \).*#\1$version#" "$repo/$file"
git -C "$repo" -c user.name=u -c user.email=u@localhost commit -q -am "Deploy reel $version"
git -C "$repo" push -q origin HEAD:main
