#include "kernels/cpu_stream.h"

namespace contextpool::kernels {

Isa BestIsa() {
#if defined(__x86_64__)
  static const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return avx2 ? Isa::kAvx2 : Isa::kReference;
#else
  return Isa::kReference;
#endif
}

}  // namespace contextpool::kernels
