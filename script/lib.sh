# shellcheck shell=bash
# Shared by the scripts of this folder: paths, messages, build settings. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/contextpool-server
LIBTORCH=${LIBTORCH_ROOT:-$CACHE/libtorch-2.11.0}
MINILM=$CACHE/models/all-MiniLM-L6-v2
TEST_VENV=$CACHE/venv-test
TRAINING_VENV=$CACHE/venv-training
# A CUDA toolkit in miniature, and the oldest toolkit that compiles the kernels.
CUDA_DOWNLOAD=$CACHE/cuda-13.0
CUDA_OLDEST=12.4
export ROOT CACHE LIBTORCH MINILM TEST_VENV TRAINING_VENV CUDA_DOWNLOAD

step() { printf '==> %s\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  local line
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit 1
}

# Prints the comment block at the top of the calling script, which is its manual.
usage() { sed -n '2{/^#/!q};2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

# As many compilers as there are processors, fewer where memory is short (one needs about 1.5 GiB).
if [[ -z ${CMAKE_BUILD_PARALLEL_LEVEL:-} ]]; then
  by_memory=$(awk '/^MemAvailable/ { n = int($2 / 1572864); print (n < 1 ? 1 : n) }' /proc/meminfo)
  jobs=$(nproc)
  export CMAKE_BUILD_PARALLEL_LEVEL=$((jobs < by_memory ? jobs : by_memory))
  unset by_memory jobs
fi
export NINJA_STATUS=${NINJA_STATUS:-'[%f/%t %es] '}

# nvcc_version NVCC: "13.0", or nothing if it does not run.
nvcc_version() { "$1" --version 2>/dev/null | sed -n 's/.* release \([0-9.]*\),.*/\1/p'; }

# is_new_enough NVCC
is_new_enough() {
  local version
  version=$(nvcc_version "$1")
  [[ -n $version ]] && printf '%s\n' "$CUDA_OLDEST" "$version" | sort -V -C
}

# find_nvcc: prints the nvcc to compile with, of CUDA_HOME, in PATH or downloaded; nothing if there is
# none.
find_nvcc() {
  local downloaded=$CUDA_DOWNLOAD/nvidia/cu13/bin/nvcc in_path
  if [[ -n ${CUDA_HOME:-} ]]; then
    printf '%s\n' "$CUDA_HOME/bin/nvcc"
  elif in_path=$(command -v nvcc) && is_new_enough "$in_path"; then
    printf '%s\n' "$in_path"
  elif [[ -x $downloaded ]]; then
    printf '%s\n' "$downloaded"
  fi
}

# find_beside_nvcc NVCC LIBRARY: prints the path of a library of nvcc's toolkit, nothing if it is not
# there.
find_beside_nvcc() {
  local toolkit folder
  toolkit=$(dirname "$(readlink -f "$1")")/..
  for folder in lib64 lib targets/x86_64-linux/lib; do
    [[ ! -e $toolkit/$folder/$2 ]] || {
      readlink -f "$toolkit/$folder/$2"
      return
    }
  done
}

# configure PRESET [CMAKE ARGUMENTS]: writes build/PRESET, quietly unless something is wrong.
configure() {
  local preset=$1 log nvcc
  shift
  if [[ $preset == cuda ]]; then
    nvcc=$(find_nvcc)
    [[ -n $nvcc ]] || die "there is no nvcc" "run script/bootstrap cuda, which fetches one"
    note "kernels by $nvcc, version $(nvcc_version "$nvcc")"
    set -- "-DCMAKE_CUDA_COMPILER=$nvcc" "$@"
  fi
  mkdir -p "$ROOT/build"
  log=$ROOT/build/configure-$preset.log
  if ! (cd "$ROOT" && cmake --preset "$preset" "$@") >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    die "cmake could not configure build/$preset (whole log: $log)" \
      "run script/bootstrap first; if that changes nothing, delete build/$preset and try again"
  fi
}
