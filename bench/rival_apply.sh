#!/usr/bin/env bash
# The shortest honest script for "this value of a workspace, planned and applied", in a folder that is initialised.
# Usage: rival_apply.sh REPO VALUE TOFU
set -euo pipefail
repo=$1 value=$2 tofu=$3
folder=$repo/terraform/network
sed -i "s/^value .*/value = \"$value\"/" "$folder/terraform.tfvars"
git -C "$repo" -c user.name=u -c user.email=u@localhost commit -q -am "Set value to $value"
cd "$folder"
"$tofu" plan -input=false -out=.terraform/plan > /dev/null
"$tofu" apply -input=false .terraform/plan > /dev/null
