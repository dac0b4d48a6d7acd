// A function with a stack of its own, which can stop in the middle and go on later.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace contextpool::kernels::simt {

// Resumed and destroyed by the thread that created it. Not thread-safe.
class Fiber {
 public:
  // `body` must not throw. REQUIRES: it has returned, or never started, when the fiber is
  // destroyed.
  Fiber(size_t stack_bytes, std::function<void()> body);
  ~Fiber();
  Fiber(Fiber&&) noexcept;
  Fiber& operator=(Fiber&&) noexcept;

  // Runs the body until it calls Suspend or returns. REQUIRES: called from outside; not finished.
  void Resume();

  // Goes back to the caller of Resume. REQUIRES: called by the body.
  void Suspend();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace contextpool::kernels::simt
