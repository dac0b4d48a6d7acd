#include "engine/device/gpu_queue.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <variant>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "engine/device/arena.h"

namespace contextpool::engine {
namespace {

template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

bool IsLarge(const GpuCommand& command) {
  const auto* product = std::get_if<GpuGemmParams>(&command);
  return product != nullptr && product->rows > GpuQueue::kSmallRows;
}

// Whether `next` begins where `last` ends, on the host as on the GPU.
bool Continues(const GpuCopyIn& last, const GpuCopyIn& next) {
  const size_t padded = Arena::Padded(last.bytes);
  return next.device == static_cast<char*>(last.device) + padded && next.host == last.host + padded;
}

}  // namespace

GpuQueue::GpuQueue(GpuRuntime& runtime, const GpuKernels& kernels)
    : runtime_(runtime), kernels_(kernels), staging_(runtime) {}

void GpuQueue::CopyToDevice(void* device, const void* host, size_t bytes) {
  if (bytes == 0 || !status_.ok()) return;
  const absl::StatusOr<char*> staged = staging_.Take(bytes);
  if (!staged.ok()) return Fail(staged.status());
  std::memcpy(*staged, host, bytes);
  const GpuCopyIn copy{device, *staged, bytes};
  auto* last = pending_.empty() ? nullptr : std::get_if<GpuCopyIn>(&pending_.back());
  if (last == nullptr || !Continues(*last, copy)) return Add(copy);
  // What lies between belongs to nobody, on the GPU too.
  const size_t padded = Arena::Padded(last->bytes);
  std::memset(last->host + last->bytes, 0, padded - last->bytes);
  last->bytes = padded + bytes;
}

void GpuQueue::CopyToHost(void* host, const void* device, size_t bytes) {
  if (bytes == 0 || !status_.ok()) return;
  const absl::StatusOr<char*> staged = staging_.Take(bytes);
  if (!staged.ok()) return Fail(staged.status());
  arrivals_.push_back({host, *staged, bytes});
  Add(GpuCopyOut{*staged, device, bytes});
}

void GpuQueue::Add(const GpuCommand& command) {
  pending_.push_back(command);
  large_ = large_ || IsLarge(command);
  // A copy waits for the next operation, which may be a copy that belongs to it.
  if (large_ && !std::holds_alternative<GpuCopyIn>(command)) QueueAll();
}

absl::Status GpuQueue::Synchronize() {
  const absl::Cleanup end_of_pass = [this] { ClearPass(); };
  std::exception_ptr thrown;
  try {
    if (status_.ok()) large_ ? QueueAll() : QueueSmall();
  } catch (...) {
    // What was queued before it uses memory that may go when this returns.
    thrown = std::current_exception();
  }
  absl::Status end = runtime_.Synchronize();
  // That the GPU is lost is more than any other failure says.
  if (absl::IsDataLoss(end)) return end;
  if (thrown) std::rethrow_exception(thrown);
  if (!status_.ok()) return status_;
  if (!end.ok()) return end;
  for (const Arrival& arrival : arrivals_) {
    std::memcpy(arrival.host, arrival.staged, arrival.bytes);
  }
  return absl::OkStatus();
}

void GpuQueue::ClearPass() {
  status_ = absl::OkStatus();
  arrivals_.clear();
  pending_.clear();
  large_ = false;
  if (staging_.Reset()) ForgetPasses();
}

void GpuQueue::QueueSmall() {
  if (pending_.empty()) return;
  if (!records_) return QueueAll();
  if (forget_.exchange(false)) seen_.clear();
  SeenPass* const seen = SeenBefore();
  if (seen == nullptr) return QueueAll();
  if (seen->graph == nullptr) seen->graph = Record();
  if (seen->graph != nullptr && runtime_.Launch(*seen->graph).ok()) return;
  // There may be no memory for a graph; what is wrong with the GPU fails the operations, too.
  seen->graph = nullptr;
  QueueAll();
}

GpuQueue::SeenPass* GpuQueue::SeenBefore() {
  const size_t hash = HashOf(pending_);
  ++small_passes_;
  for (SeenPass& seen : seen_) {
    if (seen.hash != hash || seen.commands != pending_) continue;
    seen.last = small_passes_;
    return &seen;
  }
  SeenPass seen{hash, pending_, small_passes_, nullptr};
  if (seen_.size() < kMaxPasses) {
    seen_.push_back(std::move(seen));
  } else {
    *std::ranges::min_element(seen_, {}, &SeenPass::last) = std::move(seen);
  }
  return nullptr;
}

std::unique_ptr<GpuGraph> GpuQueue::Record() {
  const absl::Status begun = runtime_.BeginCapture();
  records_ = !absl::IsUnimplemented(begun);
  if (!begun.ok()) return nullptr;
  absl::Status status;
  try {
    for (const GpuCommand& command : pending_) {
      if (status.ok()) status = Queue(command);
    }
  } catch (...) {
    // Or nothing would be computed from now on.
    runtime_.EndCapture().IgnoreError();
    throw;
  }
  absl::StatusOr<std::unique_ptr<GpuGraph>> graph = runtime_.EndCapture();
  return status.ok() && graph.ok() ? *std::move(graph) : nullptr;
}

void GpuQueue::QueueAll() {
  // None of them twice, should one throw.
  const absl::Cleanup queued = [this] { pending_.clear(); };
  for (const GpuCommand& command : pending_) {
    if (status_.ok()) status_ = Queue(command);
  }
}

absl::Status GpuQueue::Queue(const GpuCommand& command) {
  return std::visit(
      Overloaded{
          [&](const GpuCopyIn& copy) {
            return runtime_.CopyToDevice(copy.device, copy.host, copy.bytes);
          },
          [&](const GpuCopyOut& copy) {
            return runtime_.CopyToHost(copy.host, copy.device, copy.bytes);
          },
          [&](const GpuGemmParams& p) { return runtime_.Multiply(p); },
          [&](const kernels::AttentionParams& p) {
            return Launch("Attention", kernels_.attention, p);
          },
          [&](const kernels::BiasActivationParams& p) {
            return Launch("BiasActivation", kernels_.bias_activation, p);
          },
          [&](const kernels::ContextPoolParams& p) {
            return Launch("ContextPool", kernels_.context_pool, p);
          },
          [&](const kernels::ContextPoolSupportParams& p) {
            return Launch("ContextPoolSupport", kernels_.context_pool_support, p);
          },
          [&](const kernels::EmbeddingParams& p) {
            return Launch("Embedding", kernels_.embedding, p);
          },
          [&](const kernels::Im2ColParams& p) { return Launch("Im2Col", kernels_.im2col, p); },
          [&](const kernels::LayerNormParams& p) {
            return Launch("LayerNorm", kernels_.layer_norm, p);
          },
          [&](const kernels::PatchTokensParams& p) {
            return Launch("PatchTokens", kernels_.patch_tokens, p);
          },
          [&](const kernels::PoolParams& p) { return Launch("Pool", kernels_.pool, p); },
      },
      command);
}

template <typename Params>
absl::Status GpuQueue::Launch(absl::string_view op, GpuKernels::Launch<Params> kernel,
                              const Params& params) {
  const kernels::Status status = kernel(params, runtime_.stream());
  if (status == kernels::Status::kOk) return absl::OkStatus();
  const std::string what = absl::StrCat("device ", runtime_.name(), ": ", op, ": ", Name(status));
  if (status == kernels::Status::kLaunchFailed) {
    const absl::Status failure = runtime_.LaunchFailure();
    return failure.ok() ? absl::InternalError(what) : failure;
  }
  // Found when a model is warmed up, which then goes to another device.
  return absl::UnimplementedError(what);
}

}  // namespace contextpool::engine
