#!/usr/bin/env bash
# Shows the unmodified Azure CLI at work with a running gateway, and stops at the first thing that is not as it should be:
#
#     scoregate dev --ready-file /tmp/ready.json &
#     tests/sdk/az.sh /tmp/ready.json [VENV]
#
# Installs azure-cli into VENV (default: target/az, 730 MB, some minutes) unless it is there. Not part of `cargo test`.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
ready=${1:?"usage: az.sh READY_FILE [VENV]"}
venv=${2:-$root/target/az}
[ -x "$venv/bin/az" ] || { python3 -m venv "$venv" && "$venv/bin/python" -m pip install -q azure-cli==2.91.0; }
PATH=$venv/bin:$PATH

fact() { python3 -c 'import functools,json,sys; print(functools.reduce(lambda v, k: v[k], sys.argv[2].split("."), json.load(open(sys.argv[1]))))' "$ready" "$1"; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Nothing of the user's own configuration, and nothing that could lead elsewhere.
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy AZURE_CLOUD_NAME
export AZURE_CONFIG_DIR=$scratch REQUESTS_CA_BUNDLE SSL_CERT_FILE AZURE_CORE_INSTANCE_DISCOVERY=false
export AZURE_CORE_COLLECT_TELEMETRY=0 AZURE_CORE_NO_COLOR=true AZURE_CORE_ONLY_SHOW_ERRORS=true AZURE_CORE_LOGIN_EXPERIENCE_V2=off
REQUESTS_CA_BUNDLE=$(fact ca_file) SSL_CERT_FILE=$REQUESTS_CA_BUNDLE
control=$(fact control_url) tenant=$(fact tenant_id) subscription=$(fact subscription_id) group=$(fact resource_group)
outsider=$(fact principals.outsider.object_id)
workspace=/subscriptions/$subscription/resourceGroups/$group/providers/Microsoft.MachineLearningServices/workspaces/$(fact workspace)
endpoint=$workspace/onlineEndpoints/by-az
version='api-version=2023-10-01'

count=0
expect() { # WHAT EXPECTED COMMAND…: the command's output is exactly that
  local what=$1 expected=$2 seen
  shift 2
  seen=$("$@" 2>"$scratch/stderr") || true
  count=$((count + 1))
  if [ "$seen" != "$expected" ]; then
    printf 'not ok %s %s\n  $ %s\n  seen: %s\n  not:  %s\n' "$count" "$what" "$*" "$seen" "$expected"
    cat "$scratch/stderr"
    exit 1
  fi
  printf 'ok %s %s\n' "$count" "$what"
}
refuses() { # WHAT TEXT COMMAND…: the command fails, and says so with that text
  local what=$1 text=$2
  shift 2
  count=$((count + 1))
  if "$@" >"$scratch/stdout" 2>"$scratch/stderr" || ! grep -qE -- "$text" "$scratch/stderr"; then
    printf 'not ok %s %s\n  $ %s\n' "$count" "$what" "$*"
    cat "$scratch/stdout" "$scratch/stderr"
    exit 1
  fi
  printf 'ok %s %s\n' "$count" "$what"
}
login() { # PRINCIPAL
  az login --service-principal -u "$(fact "principals.$1.client_id")" -p "$(fact "principals.$1.client_secret")" --tenant "$tenant" "${@:2}"
}

az cloud register -n Local --endpoint-resource-manager "$control"
az cloud set -n Local
expect 'cloud: where tokens come from' "$(fact authority_url)" az cloud show --query endpoints.activeDirectory -o tsv
expect 'login' "$subscription" login admin --query '[0].id' -o tsv
expect 'account list' "$tenant" az account list --query '[0].tenantId' -o tsv
expect 'account get-access-token' Bearer az account get-access-token --resource https://ml.azure.com --query tokenType -o tsv
expect 'group show' "$group" az group show -n "$group" --query name -o tsv

body='{"location": "local", "identity": {"type": "systemAssigned"}, "properties": {"authMode": "aadToken"}, "tags": {"by": "az"}}'
expect 'rest PUT of an endpoint' AADToken az rest -m put -u "$endpoint?$version" -b "$body" --query properties.authMode -o tsv
expect 'rest GET of it' az az rest -m get -u "$control$endpoint?$version" --query tags.by -o tsv
backend=$(fact models.blue | python3 -c 'import json,sys; print(json.dumps(json.dumps({"urls": [sys.stdin.read().strip()]})))')
blue="{\"location\": \"local\", \"properties\": {\"endpointComputeType\": \"Managed\", \"properties\": {\"scoregate.backend\": $backend}}}"
expect 'rest PUT of a deployment' Succeeded az rest -m put -u "$endpoint/deployments/blue?$version" -b "$blue" --query properties.provisioningState -o tsv
body='{"location": "local", "identity": {"type": "systemAssigned"}, "properties": {"authMode": "aadToken", "traffic": {"blue": 100}}}'
expect 'rest PUT of traffic' 100 az rest -m put -u "$endpoint?$version" -b "$body" --query properties.traffic.blue -o tsv
expect 'rest GET of the list' by-az az rest -m get -u "$workspace/onlineEndpoints?$version&name=by-az" --query 'value[].name' -o tsv
expect 'resource show' by-az az resource show --ids "$endpoint" --api-version 2023-10-01 --query name -o tsv
row='[46, "male", "non-anginal", 150, 231, 0, "normal", 147, 0, 3.6, "flat", 0, "normal"]'
# `az rest` adds a token of its own to https only.
score() {
  local token
  token=$(az account get-access-token --resource https://ml.azure.com --query accessToken -o tsv)
  az rest -m post -u "$(fact data_url)/endpoints/by-az/score" --skip-authorization-header --headers "Authorization=Bearer $token" \
    'Content-Type=application/json' -b "{\"input_data\": [$row]}" --query deployment -o tsv
}
expect 'rest POST to score' blue score

expect 'role assignment create' "$outsider" az role assignment create --assignee-object-id "$outsider" \
  --assignee-principal-type ServicePrincipal --role 'AzureML Data Scientist' --scope "$endpoint" --query "not_null(principalId, properties.principalId)" -o tsv
expect 'role assignment list' 'AzureML Data Scientist' az role assignment list --scope "$endpoint" \
  --query "[?principalId=='$outsider'].roleDefinitionName" -o tsv --fill-principal-name false
expect 'role assignment delete' '' az role assignment delete --assignee "$outsider" --role 'AzureML Data Scientist' --scope "$endpoint"
expect 'and none is left' 0 az role assignment list --scope "$endpoint" --query "length([?principalId=='$outsider'])" -o tsv --fill-principal-name false

definition="{\"Name\": \"Scorer by az\", \"Description\": \"may score\", \"AssignableScopes\": [\"/subscriptions/$subscription/resourceGroups/$group\"],
  \"Actions\": [\"Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action\"]}"
expect 'role definition create' CustomRole az role definition create --role-definition "$definition" --query "not_null(roleType, properties.roleType)" -o tsv
expect 'role definition list' 'Scorer by az' az role definition list --custom-role-only --scope "/subscriptions/$subscription/resourceGroups/$group" --query "[].not_null(roleName, properties.roleName)" -o tsv
expect 'role assignment create with it' "$outsider" az role assignment create --assignee-object-id "$outsider" \
  --assignee-principal-type ServicePrincipal --role 'Scorer by az' --scope "$endpoint" --query "not_null(principalId, properties.principalId)" -o tsv

expect 'login of the outsider' "$tenant" login outsider --allow-no-subscriptions --query '[0].tenantId' -o tsv
expect 'who may score by that role' blue score
refuses 'but not read' 'AuthorizationFailed|ResourceNotFound' az rest -m get -u "$control$endpoint?$version"
refuses 'and not grant' 'AuthorizationFailed|ResourceNotFound' az rest -m put -b '{"properties": {}}' \
  -u "$control$endpoint/providers/Microsoft.Authorization/roleAssignments/$(python3 -c 'import uuid; print(uuid.uuid4())')?api-version=2022-04-01"

expect 'login of the admin again' "$subscription" login admin --query '[0].id' -o tsv
expect 'role assignment delete with it' '' az role assignment delete --assignee "$outsider" --role 'Scorer by az' --scope "$endpoint"
expect 'role definition delete' '' az role definition delete --name 'Scorer by az' --scope "/subscriptions/$subscription/resourceGroups/$group"
expect 'rest DELETE of the endpoint' '' az rest -m delete -u "$endpoint?$version"
refuses 'and it is gone' ResourceNotFound az rest -m get -u "$endpoint?$version"
printf 'all %s held\n' "$count"
