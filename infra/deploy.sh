#!/usr/bin/env bash
# Create the work pools and the automation, and deploy the flows, on the Prefect server at PREFECT_API_URL.
set -euo pipefail
for name in gpu arms; do
  prefect work-pool inspect "$name" >/dev/null 2>&1 || prefect work-pool create "$name" --type process ||
    prefect work-pool inspect "$name" >/dev/null # another worker created it
done
prefect automation inspect lost-flow-runs >/dev/null 2>&1 || prefect automation create --from-file infra/automations.yaml
prefect --no-prompt deploy --prefect-file infra/prefect.yaml --all
