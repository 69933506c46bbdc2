#!/usr/bin/env bash
# Prefect's server and MLflow's pages, on loopback, until Ctrl-C.
set -euo pipefail
mkdir -p work/prefect
export PREFECT_HOME=${PREFECT_HOME:-$(realpath work/prefect)}
trap 'kill 0' EXIT INT TERM
uri=${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}
echo "Prefect: http://127.0.0.1:4200   MLflow: http://127.0.0.1:5000   (Ctrl-C ends both; logs in work/)"
prefect server start --host 127.0.0.1 --port 4200 >work/prefect.log 2>&1 &
mlflow server --host 127.0.0.1 --port 5000 --backend-store-uri "$uri" --artifacts-destination mlartifacts >work/mlflow.log 2>&1 &
wait -n
echo "error: one of the two ended; see work/prefect.log and work/mlflow.log" >&2
exit 1
