#!/usr/bin/env bash
# The shortest honest script for "this version of the release, and wait until it is out".
# Usage: rival_helm.sh HELM REPO FILE CHART NAMESPACE RELEASE IMAGE   (KUBECONFIG is given; no sleeps)
set -euo pipefail
helm=$1 repo=$2 file=$3 chart=$4 namespace=$5 release=$6 image=$7
sed -i "s#image: .*#image: $image#" "$repo/$file"
git -C "$repo" -c user.name=u -c user.email=u@localhost commit -q -am "Deploy $image"
"$helm" upgrade "$release" "$repo/$chart" -n "$namespace" -f "$repo/$file" --wait --timeout 60s >/dev/null
