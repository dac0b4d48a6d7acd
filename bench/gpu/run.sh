#!/bin/sh
# Tests and measures the kernels on this machine's GPU: see `./run.sh --help`.
exec "${PYTHON:-python3}" -B "$(dirname "$0")/gpu_check.py" "$@"
