// Sharing rows among threads, in runs long enough to be worth a task. In an unnamed namespace
// because files compiled for different instruction sets include it.
#pragma once

#include <cstdint>

#include "kernels/cpu_stream.h"
#include "kernels/embedding.h"

namespace contextpool::kernels::cpu {
namespace {

constexpr int64_t kRowsPerTask = 16;

// body(row) for each of `rows`.
template <typename Body>
void ForRows(int64_t rows, CpuStream& stream, const Body& body) {
  const int64_t tasks = (rows + kRowsPerTask - 1) / kRowsPerTask;
  stream.ParallelFor(tasks, [&](int64_t task, int) {
    const int64_t end = (task + 1) * kRowsPerTask;
    for (int64_t row = task * kRowsPerTask; row < (end < rows ? end : rows); ++row) body(row);
  });
}

// body(token, position in its sequence) for each token.
template <typename Body>
void ForTokens(const EmbeddingParams& p, CpuStream& stream, const Body& body) {
  stream.ParallelFor(p.sequences, [&](int64_t sequence, int) {
    const int64_t begin = p.cu_lengths[sequence];
    const int64_t end = p.cu_lengths[sequence + 1];
    for (int64_t token = begin; token < end; ++token) body(token, token - begin);
  });
}

}  // namespace
}  // namespace contextpool::kernels::cpu
