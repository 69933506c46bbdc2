"""From raw community dumps to an aligned model and an honest report (LIMA, arXiv 2305.11206)."""

import os
import sys

# What this project stands on reports home unless told not to; here nothing does. A value that is set wins.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}.items():
    os.environ.setdefault(_name, _value)
# Progress bars are for a terminal; into a log they would go line by line.
if not sys.stderr.isatty():
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# What a database does at its creation is no news.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
# OpenMP reads this when torch is loaded. Threads that spin while they wait slow down everything on shared cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
