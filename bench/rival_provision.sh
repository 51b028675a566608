#!/usr/bin/env bash
# The shortest honest script for "a namespace with a pull secret that its pods use": what infra-mcp is measured against.
# Usage: rival_provision.sh REPO NAMESPACE SECRET_FILE   (KUBECONFIG and PATH with kubectl are given; no sleeps)
set -euo pipefail
repo=$1 namespace=$2 secret=$3
file="$repo/apps/$namespace.yaml"
mkdir -p "$repo/apps"
cat >"$file" <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: $namespace}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: $namespace}
imagePullSecrets: [{name: registry-x}]
YAML
kubectl create namespace "$namespace" --dry-run=server -o name >/dev/null 2>&1 || kubectl get namespace "$namespace" -o name >/dev/null
git -C "$repo" add "apps/$namespace.yaml"
git -C "$repo" diff --cached --quiet || git -C "$repo" commit -q -m "Namespace $namespace"
{ cat "$file"; echo ---; sed "s/NAMESPACE/$namespace/" "$secret"; } | kubectl apply --server-side --field-manager=rival --force-conflicts -f - >/dev/null
kubectl wait --for=jsonpath='{.status.phase}'=Active "namespace/$namespace" --timeout=30s >/dev/null
kubectl -n "$namespace" get secret/registry-x serviceaccount/default -o name >/dev/null
