"""Build a fine-tuning set from raw community dumps, train on it and report the result (LIMA, arXiv 2305.11206)."""

import os
import sys

# Turn off the telemetry of all dependencies. A value that the user set takes precedence.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}.items():
    os.environ.setdefault(_name, _value)
# No progress bars when stderr is not a terminal: a log would get one line per update.
if not sys.stderr.isatty():
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# Hide MLflow's messages about creating its database.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
# OpenMP reads this when torch is loaded. Busy-waiting threads slow down every process on shared cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
