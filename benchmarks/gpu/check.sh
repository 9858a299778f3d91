#!/usr/bin/env bash
# Runs check.py in the project's root on a machine with a GPU and no network: installs .whl first, once.
#   KIT_SECONDS=560 bash .gpu/check.sh [--list | STEP ...]
# KIT_DEVICE, KIT_SHAPE: what is run where (cuda, llama-3.1-8b). KIT_SITE: where wheels go; empty for none.
# Without a GPU: make gpu-dry-run
kit=$(cd "$(dirname "$0")" && pwd)
cd "$kit" && cd "$(git rev-parse --show-toplevel 2>/dev/null || dirname "${kit%/gpu}")" || exit
export OUT=${OUT:-/tmp/out} QUANTDUEL_HOME=${QUANTDUEL_HOME:-/tmp/qd} QUANTDUEL_TEST_HOME=${QUANTDUEL_TEST_HOME:-/tmp/qd-test}
export HF_HUB_OFFLINE=1 GPTQMODEL_OFFLINE=1 PYTHONUNBUFFERED=1
export PYTHONPYCACHEPREFIX=${PYTHONPYCACHEPREFIX:-/tmp/pycache} # nothing in the tree, and compiled once
KIT_STARTED=$(date +%s) && export KIT_STARTED
mkdir -p "$OUT" "$QUANTDUEL_HOME"
site=${KIT_SITE-/tmp/site}
if [ -n "$site" ] && [ ! -e "$site/.done" ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .whl/*.whl \
    >"$OUT/install.log" 2>&1 || { tail -5 "$OUT/install.log"; echo "the wheels could not be installed"; exit 1; }
  touch "$site/.done"
fi
export PYTHONPATH="$PWD${site:+:$site}"
if [ -f "$kit/libpcre2-8.so.0" ] && ! ldconfig -p 2>/dev/null | grep -q libpcre2-8.so.0; then
  export LD_LIBRARY_PATH="$kit:${LD_LIBRARY_PATH:-}"
fi
exec python3 -m benchmarks.gpu.check "$@"
