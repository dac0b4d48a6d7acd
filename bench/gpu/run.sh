#!/bin/sh
# Tests and measures the kernels on this machine's GPU: see `./run.sh --help`.
folder=$(cd "$(dirname "$0")" && pwd)
# Abseil lies beside the library that needs it.
LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
  exec "${PYTHON:-python3}" -B "$folder/gpu_check.py" "$@"
