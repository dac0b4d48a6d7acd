#include "kernels/simt/fiber.h"

#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <utility>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CONTEXTPOOL_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define CONTEXTPOOL_ASAN 1
#endif

#if defined(CONTEXTPOOL_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace contextpool::kernels::simt {
namespace {

// AddressSanitizer must know which stack a thread is on, or it takes each switch for an overflow.
struct StackBounds {
  const void* bottom = nullptr;
  size_t size = 0;
};

void BeforeSwitch([[maybe_unused]] void** own_fake_stack, [[maybe_unused]] StackBounds to) {
#if defined(CONTEXTPOOL_ASAN)
  __sanitizer_start_switch_fiber(own_fake_stack, to.bottom, to.size);
#endif
}

void AfterSwitch([[maybe_unused]] void* own_fake_stack, [[maybe_unused]] StackBounds* from) {
#if defined(CONTEXTPOOL_ASAN)
  __sanitizer_finish_switch_fiber(own_fake_stack, &from->bottom, &from->size);
#endif
}

// Stacks that fibers of this thread have left: mapping new ones takes longer than most launches.
class StackPool {
 public:
  StackPool() = default;
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;
  ~StackPool() {
    for (Stack& stack : free_) {
      boost::context::protected_fixedsize_stack(stack.requested).deallocate(stack.context);
    }
  }

  boost::context::stack_context Take(size_t bytes) {
    if (free_.empty() || free_.back().requested != bytes) {
      return boost::context::protected_fixedsize_stack(bytes).allocate();
    }
    const boost::context::stack_context stack = free_.back().context;
    free_.pop_back();
#if defined(CONTEXTPOOL_ASAN)
    // The last frames were never left.
    ASAN_UNPOISON_MEMORY_REGION(static_cast<char*>(stack.sp) - stack.size, stack.size);
#endif
    return stack;
  }

  void Return(size_t bytes, boost::context::stack_context stack) {
    free_.push_back({bytes, stack});
  }

 private:
  struct Stack {
    size_t requested;
    boost::context::stack_context context;
  };
  std::vector<Stack> free_;
};

StackPool& ThisThreadsPool() {
  thread_local StackPool pool;
  return pool;
}

// What Boost.Context asks for.
struct PooledStack {
  size_t bytes;

  boost::context::stack_context allocate() const { return ThisThreadsPool().Take(bytes); }
  void deallocate(boost::context::stack_context& stack) const {
    ThisThreadsPool().Return(bytes, stack);
  }
};

}  // namespace

struct Fiber::State {
  explicit State(std::function<void()> function) : body(std::move(function)) {}

  std::function<void()> body;
  boost::context::fiber inside;
  boost::context::fiber outside;
  StackBounds inside_stack;
  StackBounds outside_stack;
  void* inside_fake_stack = nullptr;
};

Fiber::Fiber(size_t stack_bytes, std::function<void()> body)
    : state_(std::make_unique<State>(std::move(body))) {
  const PooledStack allocator = {stack_bytes};
  const boost::context::stack_context stack = allocator.allocate();
  state_->inside_stack = {static_cast<char*>(stack.sp) - stack.size, stack.size};
  State* state = state_.get();
  state->inside = boost::context::fiber(std::allocator_arg,
                                        boost::context::preallocated(stack.sp, stack.size, stack),
                                        allocator, [state](boost::context::fiber&& outside) {
                                          AfterSwitch(nullptr, &state->outside_stack);
                                          state->outside = std::move(outside);
                                          state->body();
                                          // Null: the stack is never used again.
                                          BeforeSwitch(nullptr, state->outside_stack);
                                          return std::move(state->outside);
                                        });
}

Fiber::~Fiber() = default;
Fiber::Fiber(Fiber&&) noexcept = default;
Fiber& Fiber::operator=(Fiber&&) noexcept = default;

void Fiber::Resume() {
  void* fake_stack = nullptr;
  StackBounds left;
  BeforeSwitch(&fake_stack, state_->inside_stack);
  state_->inside = std::move(state_->inside).resume();
  AfterSwitch(fake_stack, &left);
}

void Fiber::Suspend() {
  BeforeSwitch(&state_->inside_fake_stack, state_->outside_stack);
  state_->outside = std::move(state_->outside).resume();
  AfterSwitch(state_->inside_fake_stack, &state_->outside_stack);
}

}  // namespace contextpool::kernels::simt
