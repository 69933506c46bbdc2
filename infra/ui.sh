#!/usr/bin/env bash
# Run the servers of Prefect and MLflow on loopback until Ctrl-C, and deploy the flows. PREFECT_PORT and MLFLOW_PORT set
# the ports; by default 4200 and 5000, or free ports if these are in use. While they run, prefect.toml holds the address,
# so that `prefect` in this checkout finds the server without PREFECT_API_URL.
set -euo pipefail
mkdir -p work/prefect
export PREFECT_HOME=${PREFECT_HOME:-$(realpath work/prefect)}

# port NAME DEFAULT: the value of the variable NAME; without one, the default port or, if it is in use, a free port
port() {
  python - "$1" "${!1:-}" "$2" <<'PYTHON'
import socket
import sys

name, value, default = sys.argv[1:]


def bound(port: int) -> int:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        return server.getsockname()[1]


try:
    print(bound(int(value or default)))
except (OSError, OverflowError, ValueError):
    if value:
        sys.exit(f"error: port is in use or invalid: {value}; choose another {name}, or unset it to take a free port")
    free = bound(0)
    print(f"port {default} is in use; port {free} is taken instead ({name} sets another)", file=sys.stderr)
    print(free)
PYTHON
}

# announce NAME ADDRESS HEALTH: wait until a server answers, and print its address
announce() {
  until python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=10)' "$3" 2>/dev/null; do sleep 0.5; done
  echo "$1 is ready: $2"
}

prefect_port=$(port PREFECT_PORT 4200)
mlflow_port=$(port MLFLOW_PORT 5000)
prefect="http://127.0.0.1:$prefect_port" mlflow="http://127.0.0.1:$mlflow_port"
export PREFECT_API_URL="$prefect/api"
mark="# written by infra/ui.sh"
forget() {
  rm -f work/prefect/api
  if grep -qsF "$mark" prefect.toml; then rm -f prefect.toml; fi
}
trap 'forget; trap - EXIT INT TERM; kill 0' EXIT INT TERM
echo "$PREFECT_API_URL" >work/prefect/api # for worker.sh
if [ ! -e prefect.toml ] || grep -qF "$mark" prefect.toml; then # a file of the user stays
  printf '%s\n[api]\nurl = "%s"\n' "$mark" "$PREFECT_API_URL" >prefect.toml
fi
store=${MLFLOW_BACKEND_STORE_URI:-${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}}
echo "starting Prefect and MLflow (Ctrl-C stops both; logs: work/prefect.log, work/mlflow.log)"
prefect server start --host 127.0.0.1 --port "$prefect_port" >work/prefect.log 2>&1 &
servers=($!)
# one user: two processes, and none for MLflow's jobs, which nothing here uses (its defaults take 2 GB)
MLFLOW_SERVER_ENABLE_JOB_EXECUTION=${MLFLOW_SERVER_ENABLE_JOB_EXECUTION:-false} mlflow server --workers 2 --host 127.0.0.1 --port "$mlflow_port" --backend-store-uri "$store" --artifacts-destination "${MLFLOW_ARTIFACTS_DESTINATION:-mlartifacts}" >work/mlflow.log 2>&1 &
servers+=($!)
announce MLflow "$mlflow" "$mlflow/health" &
{
  announce Prefect "$prefect" "$PREFECT_API_URL/health"
  if "$(dirname "$0")/deploy.sh" >work/deploy.log 2>&1; then
    echo "flows are deployed; start a worker in another terminal: make worker"
    [ "$prefect_port" = 4200 ] || echo "in another checkout: PREFECT_API_URL=$PREFECT_API_URL make worker"
  else
    echo "error: the flows are not deployed; see work/deploy.log" >&2
  fi
} &
wait -n "${servers[@]}" || true
echo "error: a server stopped; see work/prefect.log and work/mlflow.log" >&2
exit 1
