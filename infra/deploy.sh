#!/usr/bin/env bash
# Create the work pools and the automation, and deploy the flows, on the Prefect server at PREFECT_API_URL or, without it,
# on the one that ui.sh started.
set -euo pipefail
export PREFECT_API_URL=${PREFECT_API_URL:-$(cat work/prefect/api 2>/dev/null || echo http://127.0.0.1:4200/api)} # as ui.sh wrote it
health=$(python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + "/health", timeout=10)' "$PREFECT_API_URL" 2>&1) || {
  echo "error: cannot reach Prefect at $PREFECT_API_URL (${health##*$'\n'}); start it with \`make ui\`, or set PREFECT_API_URL" >&2
  exit 1
}
for name in gpu arms; do
  prefect work-pool inspect "$name" >/dev/null 2>&1 || prefect work-pool create "$name" --type process ||
    prefect work-pool inspect "$name" >/dev/null # another worker created it
done
prefect automation inspect lost-flow-runs >/dev/null 2>&1 || prefect automation create --from-file infra/automations.yaml
prefect --no-prompt deploy --prefect-file infra/prefect.yaml --all
