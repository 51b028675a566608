#!/usr/bin/env bash
# The shortest honest script for "this version, and wait until it is out".
# Usage: rival_deploy.sh REPO NAMESPACE DEPLOYMENT CONTAINER IMAGE   (KUBECONFIG and PATH with kubectl are given; no sleeps)
set -euo pipefail
repo=$1 namespace=$2 name=$3 container=$4 image=$5
sed -i "s#image: .*#image: $image#" "$repo/apps/$namespace-$name.yaml"
git -C "$repo" commit -q -am "Deploy $image"
kubectl -n "$namespace" set image "deployment/$name" "$container=$image" >/dev/null
kubectl -n "$namespace" rollout status "deployment/$name" --timeout=60s >/dev/null
