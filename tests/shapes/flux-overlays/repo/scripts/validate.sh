#!/usr/bin/env bash
# builds every overlay and every cluster
set -o errexit -o pipefail
find clusters apps -name kustomization.yaml -print0 | while IFS= read -r -d '' file; do
  kustomize build "${file%/*}" >/dev/null
done
