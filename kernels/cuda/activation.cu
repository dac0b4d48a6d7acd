#include "kernels/activation.h"
#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/check.h"
#include "kernels/cuda/row_launch.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/with_half.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

// A grid has up to 65535 blocks side by side, of 64 columns at least.
constexpr int64_t kMaxColumns = 1 << 21;

bool IsSupported(const BiasActivationParams& p) {
  return p.rows >= 0 && p.columns > 0 && p.columns <= kMaxColumns && p.stride >= p.columns &&
         (p.residual == nullptr || p.residual_stride >= p.columns);
}

bool LetsVectors(const BiasActivationParams& p, int64_t vector) {
  return AreVectorAligned({p.x, p.bias, p.residual}) &&
         AreMultiplesOf(vector, {p.columns, p.stride}) &&
         (p.residual == nullptr || AreMultiplesOf(vector, {p.residual_stride}));
}

template <typename T, int kVector, Activation kActivation>
Status LaunchOf(const BiasActivationParams& p, StreamHandle stream) {
  const BiasActivationArgs<T> args = {
      .x = Rows<T>(p.x, p.rows, p.columns, p.stride),
      .bias = Rows<const T>(p.bias, 1, p.columns, 0),
      .residual = Rows<const T>(p.residual, p.rows, p.columns, p.residual_stride),
      .rows = p.rows,
      .columns = static_cast<int>(p.columns),
      .stride = p.stride,
      .residual_stride = p.residual_stride};
  return Launch(RowLaunch("bias_activation", p.rows, p.columns, ActivationRow<kVector>::kColumns),
                stream, BiasActivationKernel<T, kVector, kActivation>, args);
}

template <typename T, int kVector>
Status LaunchActivation(const BiasActivationParams& p, StreamHandle stream) {
  switch (p.activation) {
    case Activation::kNone:
      return LaunchOf<T, kVector, Activation::kNone>(p, stream);
    case Activation::kGelu:
      return LaunchOf<T, kVector, Activation::kGelu>(p, stream);
    case Activation::kGeluTanh:
      return LaunchOf<T, kVector, Activation::kGeluTanh>(p, stream);
    case Activation::kRelu:
      return LaunchOf<T, kVector, Activation::kRelu>(p, stream);
    case Activation::kTanh:
      return LaunchOf<T, kVector, Activation::kTanh>(p, stream);
    case Activation::kLeakyRelu:
      return LaunchOf<T, kVector, Activation::kLeakyRelu>(p, stream);
  }
  return Status::kBadShape;
}

template <typename T>
Status LaunchFor(const BiasActivationParams& p, StreamHandle stream) {
  constexpr int kVector = kVectorBytes / sizeof(T);
  return LetsVectors(p, kVector) ? LaunchActivation<T, kVector>(p, stream)
                                 : LaunchActivation<T, 1>(p, stream);
}

}  // namespace

Status BiasActivation(const BiasActivationParams& params, StreamHandle stream) {
  if (!IsSupported(params)) return Status::kBadShape;
  if (params.rows == 0) return Status::kOk;
  if (params.dtype == DType::kF32) return LaunchFor<float>(params, stream);
  return WithHalf(params.dtype,
                  [&]<typename T>(std::type_identity<T>) { return LaunchFor<T>(params, stream); });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
