#include "kernels/cpu_stream.h"

namespace contextpool::kernels {

CpuStream::~CpuStream() = default;

int CpuStream::threads() const { return 1; }

void CpuStream::Run(int64_t tasks, Task task, const void* context) {
  for (int64_t i = 0; i < tasks; ++i) task(context, i, 0);
}

}  // namespace contextpool::kernels
