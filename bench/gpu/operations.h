// The operations of the kernels as data, so that Python can fill their parameters by name.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/launch.h"

namespace contextpool::gpu_check {

// A field of a parameter struct. Python reads this and Operation by ctypes: bench/gpu/library.py.
struct Field {
  const char* name;
  // As Python's struct module writes it: P pointer, q int64, f float, B enumeration, ? bool.
  char code;
  size_t offset;
  size_t bytes;
};

struct Operation {
  const char* name;
  // A parameter struct with its defaults.
  const void* defaults;
  size_t bytes;
  const Field* fields;
  size_t field_count;
  kernels::Status (*launch)(const void* params, kernels::StreamHandle stream);
};

}  // namespace contextpool::gpu_check

extern "C" {

// The operation number `index`, or null behind the last one.
const contextpool::gpu_check::Operation* gpu_check_operation(int index);

// Launches it. 0, or 1 and what went wrong in `error`.
int gpu_check_launch(int index, const void* params, void* stream, char* error, size_t error_bytes);

// What the kernels may touch, from now on and no longer. Nothing happens on a GPU.
void gpu_check_register(const void* data, size_t bytes);
void gpu_check_unregister(const void* data);

}  // extern "C"
