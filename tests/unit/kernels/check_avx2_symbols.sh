#!/bin/sh
# check_avx2_symbols.sh NM OBJECT...
#
# Fails if an object compiled for AVX2 defines a symbol that other files may define too (weak, as
# inline functions and templates are) outside its own namespace: the linker keeps one copy, and an
# older CPU would stop at it.
set -eu
nm=$1
shift
symbols=$("$nm" --demangle --defined-only "$@")
shared=$(echo "$symbols" | grep -E '^[0-9a-f]+ [WVu] ' |
  grep -vE ' [WVu] contextpool::kernels::cpu::avx2::' || true)
if [ -n "$shared" ]; then
  echo "AVX2 objects define symbols that code for any CPU may share:"
  echo "$shared"
  exit 1
fi
