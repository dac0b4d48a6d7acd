#!/bin/sh
# Runs a compiler and keeps ptxas's report beside the object: OBJECT.ptxas.
#
# usage: keep_report.sh COMPILER [ARGUMENT...] -o OBJECT [ARGUMENT...]
#
# What else the compiler says is printed; if it fails, everything.
set -u

object=
previous=
for argument in "$@"; do
  [ "$previous" != -o ] || object=$argument
  previous=$argument
done

"$@" 2>"$object.ptxas"
result=$?
if [ $result = 0 ]; then
  grep -vE '^(ptxas info|    [0-9]+ bytes stack frame)' "$object.ptxas" >&2
else
  cat "$object.ptxas" >&2
fi
exit $result
