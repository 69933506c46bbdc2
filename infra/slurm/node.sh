#!/usr/bin/env bash
# usage: node.sh ARM, on each node of train.sbatch. Node 0 runs the DVC stage, which records the result; the others join it.
# LIMA_LAUNCH replaces the launch command; the node's rank and the address of node 0 are appended.
set -euo pipefail
launch=${LIMA_LAUNCH:-accelerate launch --config_file infra/accelerate/zero3-nodes.yaml}
export LIMA_LAUNCH="$launch --machine_rank $SLURM_NODEID --main_process_ip $LIMA_MAIN_NODE"
if [ "$SLURM_NODEID" = 0 ]; then
  exec dvc repro --single-item "train@$1"
fi
exec python -m lima.stages.train "$1"
