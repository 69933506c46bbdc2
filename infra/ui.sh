#!/usr/bin/env bash
# Run the servers of Prefect and MLflow on loopback until Ctrl-C. PREFECT_PORT and MLFLOW_PORT set other ports.
set -euo pipefail
mkdir -p work/prefect
export PREFECT_HOME=${PREFECT_HOME:-$(realpath work/prefect)}
prefect_port=${PREFECT_PORT:-4200} mlflow_port=${MLFLOW_PORT:-5000}
for port in PREFECT_PORT=$prefect_port MLFLOW_PORT=$mlflow_port; do
  python -c 'import socket, sys; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", int(sys.argv[1])))' "${port#*=}" 2>/dev/null || {
    echo "error: port is in use or invalid: ${port#*=}; choose another port: ${port%%=*}=$((10000 + RANDOM % 20000)) make ui" >&2
    exit 1
  }
done
trap 'trap - EXIT INT TERM; kill 0' EXIT INT TERM
store=${MLFLOW_BACKEND_STORE_URI:-${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}}
echo "Prefect: http://127.0.0.1:$prefect_port   MLflow: http://127.0.0.1:$mlflow_port   (Ctrl-C stops both; logs: work/prefect.log, work/mlflow.log)"
[ "$prefect_port" = 4200 ] || echo "to start a worker: PREFECT_API_URL=http://127.0.0.1:$prefect_port/api make worker"
prefect server start --host 127.0.0.1 --port "$prefect_port" >work/prefect.log 2>&1 &
# one user: two processes, and none for MLflow's jobs, which nothing here uses (its defaults take 2 GB)
MLFLOW_SERVER_ENABLE_JOB_EXECUTION=${MLFLOW_SERVER_ENABLE_JOB_EXECUTION:-false} mlflow server --workers 2 --host 127.0.0.1 --port "$mlflow_port" --backend-store-uri "$store" --artifacts-destination "${MLFLOW_ARTIFACTS_DESTINATION:-mlartifacts}" >work/mlflow.log 2>&1 &
wait -n
echo "error: a server stopped; see work/prefect.log and work/mlflow.log" >&2
exit 1
