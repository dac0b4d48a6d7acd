#include <limits>

#include "kernels/cuda/check.h"
#include "kernels/cuda/pool.cuh"
#include "kernels/cuda/row_launch.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/with_half.cuh"
#include "kernels/pool.h"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

bool IsSupported(const PoolParams& p) {
  return p.segment_count >= 0 && p.segment_count <= std::numeric_limits<int32_t>::max() &&
         FitsWarpRow(p.columns) && AreMultiplesOf(RowTraits::kVector, {p.columns}) &&
         AreVectorAligned({p.x, p.segments, p.out});
}

template <typename T, typename Out>
Status LaunchFor(const PoolParams& p, StreamHandle stream) {
  const LaunchConfig config = {
      .kernel = "pool", .grid = {BlocksFor(p.segment_count, 1)}, .block = {PoolTraits::kThreads}};
  const PoolArgs<T, Out> args = {.x = Table<const T>(p.x),
                                 .segments = {p.segments, p.segment_count},
                                 .out = Rows<Out>(p.out, p.segment_count, p.columns, p.columns),
                                 .columns = static_cast<int>(p.columns)};
  return WithSteps(p.columns, [&](auto steps) {
    constexpr int kSteps = steps * RowTraits::kVector / PoolTraits::kVector<T>;
    return Launch(config, stream, PoolKernel<T, Out, kSteps>, args);
  });
}

}  // namespace

Status Pool(const PoolParams& params, StreamHandle stream) {
  if (!IsSupported(params)) return Status::kBadShape;
  if (params.out_dtype != DType::kF32 && params.out_dtype != params.dtype) {
    return Status::kBadDType;
  }
  if (params.segment_count == 0) return Status::kOk;
  if (params.dtype == DType::kF32) return LaunchFor<float, float>(params, stream);
  return WithHalf(params.dtype, [&]<typename T>(std::type_identity<T>) {
    return params.out_dtype == DType::kF32 ? LaunchFor<T, float>(params, stream)
                                           : LaunchFor<T, T>(params, stream);
  });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
