#!/usr/bin/env bash
# Start a worker in a clone of its own, /checkout. LIMA_ORIGIN is the address or folder that git clones.
set -euo pipefail
: "${LIMA_ORIGIN:?set it to the address of the git repository that the flows run from}"
[ -e /checkout/.git ] || git clone "$LIMA_ORIGIN" /checkout
cd /checkout
export PYTHONPATH=/checkout
exec infra/worker.sh
