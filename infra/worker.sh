#!/usr/bin/env bash
# Create the work pools, deploy the flows and run a worker until Ctrl-C. PREFECT_API_URL is the address of the server.
# The worker runs flows in the current folder, one at a time. POOL=arms serves the arms of the flow ablations instead of
# the pool gpu: start such a worker in a clone of its own. LIMA_DVC_REMOTE is the address of the shared DVC remote, if
# .dvc/config names none.
set -euo pipefail
pool=${POOL:-gpu}
export LIMA_CHECKOUT=${LIMA_CHECKOUT:-$PWD}
mkdir -p work/prefect
export PREFECT_HOME=${PREFECT_HOME:-$(realpath work/prefect)}
export PREFECT_API_URL=${PREFECT_API_URL:-$(cat work/prefect/api 2>/dev/null || echo http://127.0.0.1:4200/api)} # as ui.sh wrote it
# a server that restarts or has lost its database for some minutes fails no run: requests are repeated for 4 minutes
export PREFECT_CLIENT_MAX_RETRIES=${PREFECT_CLIENT_MAX_RETRIES:-7} PREFECT_CLIENT_RETRY_EXTRA_CODES=${PREFECT_CLIENT_RETRY_EXTRA_CODES:-500,504}
"$(dirname "$0")/deploy.sh" >work/deploy.log || {
  tail -n 20 work/deploy.log >&2
  exit 1
}
[ -z "${LIMA_DVC_REMOTE:-}" ] || dvc remote add --quiet --force --local --default lima "$LIMA_DVC_REMOTE"
echo "start a run: PREFECT_API_URL=$PREFECT_API_URL prefect deployment run reproduce/reproduce --watch"
echo "the log of a run, and the reason if it fails: below, on its page, or with \`prefect flow-run logs ID\`"
exec prefect worker start --pool "$pool" --type process --limit 1
