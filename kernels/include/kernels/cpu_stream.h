// The stream handle of the CPU kernels: which instructions to use and who shares the work.
#pragma once

#include <cstdint>

namespace contextpool::kernels {

// In growing order of speed. kReference is plain C++ and the oracle of the others.
enum class Isa : uint8_t { kReference, kAvx2 };

// The best that this machine's CPU executes.
Isa BestIsa();

constexpr const char* Name(Isa isa) { return isa == Isa::kAvx2 ? "avx2" : "reference"; }

// Its functions that are not inlined are in a file compiled for any CPU, not wherever it is used.
//
// Kernels run to their end before the launch returns: on a CPU the stream is never behind.
class CpuStream {
 public:
  // Runs task `index` of a loop on thread `thread` of [0, threads()).
  using Task = void (*)(const void* context, int64_t index, int thread);

  explicit CpuStream(Isa isa) : isa_(isa) {}
  virtual ~CpuStream();
  CpuStream(const CpuStream&) = delete;
  CpuStream& operator=(const CpuStream&) = delete;

  Isa isa() const { return isa_; }
  virtual int threads() const;

  // Runs tasks [0, tasks), in any order and on any thread, and waits for all of them.
  virtual void Run(int64_t tasks, Task task, const void* context);

  // The same for a callable `body(index, thread)`. Does not allocate.
  template <typename Body>
  void ParallelFor(int64_t tasks, const Body& body) {
    Run(
        tasks,
        [](const void* context, int64_t index, int thread) {
          (*static_cast<const Body*>(context))(index, thread);
        },
        &body);
  }

 private:
  const Isa isa_;
};

}  // namespace contextpool::kernels
