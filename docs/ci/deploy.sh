#!/bin/sh
# Deploys an app to a version, from any pipeline or by hand: deploy.sh APP VERSION
#
# INFRA_MCP_URL and INFRA_MCP_TOKEN say where and as whom. RUN_ID names the pipeline's run, the same for each attempt of
# it: then a run that is tried again does not deploy twice. Ends with the exit code of `infra-mcp deploy`.
set -eu

: "${INFRA_MCP_URL:?the URL of the infra peer}"
: "${INFRA_MCP_TOKEN:?the token of the peer that owns the app}"
app=${1:?usage: deploy.sh APP VERSION}
version=${2:?usage: deploy.sh APP VERSION}

echo "What would change:"
infra-mcp deploy "$app" "$version" --dry-run

# exec: a pipeline that is cancelled then tells the command itself, which says what goes on.
exec infra-mcp deploy "$app" "$version" --reason "release $version" --wait 900 ${RUN_ID:+--run-id "$RUN_ID"}
