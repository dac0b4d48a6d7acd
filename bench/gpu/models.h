// Whole models on a GPU, called by Python: bench/gpu/library.py.
#pragma once

#include <cstddef>
#include <cstdint>

namespace contextpool::gpu_check {

// Texts have `ids`, images `pixels`; as engine::PackedBatch.
struct ModelBatch {
  const int32_t* ids;
  const uint8_t* pixels;
  const int32_t* cu_lengths;
  int64_t sequences;
  int64_t max_length;
};

}  // namespace contextpool::gpu_check

extern "C" {

// The model of a directory on a GPU of its own that computes in `dtype` (kernels::DType). Null, and
// what went wrong in `error`.
void* gpu_check_load(const char* directory, int dtype, char* error, size_t error_bytes);

// From inputs to embeddings, float32 [sequences, hidden size], mean-pooled texts or class tokens of
// images; both are the host's. 0, or 1 and what went wrong in `error`.
int gpu_check_forward(void* model, const contextpool::gpu_check::ModelBatch* batch,
                      float* embeddings, char* error, size_t error_bytes);

void gpu_check_unload(void* model);

}  // extern "C"
