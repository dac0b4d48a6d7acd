// A GPU's runtime that keeps a diary and computes nothing: its memory is the host's, its kernels
// are words in the diary.
#pragma once

#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/device/gpu_kernels.h"
#include "engine/device/gpu_runtime.h"

namespace contextpool::testing {

class FakeGpuRuntime final : public engine::GpuRuntime {
 public:
  // What was queued since the last Diary().
  std::vector<std::string> Diary() { return std::exchange(diary_, {}); }

  // What the next AllocateHost, copy, product, launch of a kernel, begin or end of a capture,
  // launch of a graph or Synchronize returns.
  absl::Status next_allocation;
  absl::Status next_copy;
  absl::Status next_product;
  // Of a launch that failed; the runtime may know nothing of it.
  absl::Status launch_failure = absl::InternalError("device fake:0: launch: no room");
  kernels::Status next_launch = kernels::Status::kOk;
  absl::Status next_begin;
  absl::Status next_capture;
  absl::Status next_graph;
  absl::Status next_synchronize;
  // Whether the next product throws instead.
  bool next_product_throws = false;
  // Whether there are graphs at all.
  bool records = true;
  int host_allocations = 0;
  int graphs_alive = 0;
  int synchronized = 0;

  absl::string_view name() const override { return "fake:0"; }

  absl::StatusOr<void*> Allocate(size_t bytes) override { return NewMemory(bytes); }
  void Free(void* data) override { std::free(data); }
  absl::StatusOr<void*> AllocateHost(size_t bytes) override {
    ++host_allocations;
    if (!next_allocation.ok()) return Take(next_allocation);
    return NewMemory(bytes);
  }
  void FreeHost(void* data) override { std::free(data); }

  absl::Status Upload(void* device, const void* host, size_t bytes) override {
    std::memcpy(device, host, bytes);
    return absl::OkStatus();
  }
  absl::Status CopyToDevice(void* device, const void* host, size_t bytes) override {
    if (!next_copy.ok()) return Take(next_copy);
    return Queue(absl::StrCat("in ", bytes), [=] { std::memcpy(device, host, bytes); });
  }
  absl::Status CopyToHost(void* host, const void* device, size_t bytes) override {
    if (!next_copy.ok()) return Take(next_copy);
    return Queue(absl::StrCat("out ", bytes), [=] { std::memcpy(host, device, bytes); });
  }
  absl::Status Multiply(const engine::GpuGemmParams& params) override {
    if (std::exchange(next_product_throws, false)) throw std::bad_alloc();
    if (!next_product.ok()) return Take(next_product);
    return Queue(absl::StrCat("product ", params.rows, params.bias != nullptr ? " bias" : "",
                              params.residual != nullptr ? " residual" : "",
                              params.activation != kernels::Activation::kNone ? " activation" : ""),
                 [] {});
  }

  kernels::StreamHandle stream() override { return this; }
  absl::Status LaunchFailure() override { return launch_failure; }

  absl::Status BeginCapture() override {
    if (!records) return absl::UnimplementedError("no graphs");
    if (!next_begin.ok()) return Take(next_begin);
    diary_.push_back("record");
    recording_ = true;
    return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<engine::GpuGraph>> EndCapture() override {
    recording_ = false;
    absl::Status status = Take(next_capture);
    auto graph = std::make_unique<Graph>(graphs_alive);
    graph->work = std::exchange(recorded_, {});
    if (!status.ok()) return status;
    return graph;
  }
  absl::Status Launch(const engine::GpuGraph& graph) override {
    if (!next_graph.ok()) return Take(next_graph);
    const auto& work = static_cast<const Graph&>(graph).work;
    return Queue("graph", [&work] {
      for (const std::function<void()>& each : work) each();
    });
  }

  absl::Status Synchronize() override {
    ++synchronized;
    if (recording_) return absl::InternalError("waited for a stream that records");
    for (const std::function<void()>& each : std::exchange(queued_, {})) each();
    return Take(next_synchronize);
  }

  // Kernels call this with the stream.
  static kernels::Status Note(kernels::StreamHandle stream, std::string text) {
    auto* runtime = static_cast<FakeGpuRuntime*>(stream);
    const kernels::Status status = std::exchange(runtime->next_launch, kernels::Status::kOk);
    if (status == kernels::Status::kOk) runtime->Queue(std::move(text), [] {}).IgnoreError();
    return status;
  }

 private:
  struct Graph final : engine::GpuGraph {
    explicit Graph(int& counter) : alive(counter) { ++alive; }
    ~Graph() override { --alive; }
    int& alive;
    std::vector<std::function<void()>> work;
  };

  static absl::Status Take(absl::Status& next) { return std::exchange(next, absl::OkStatus()); }

  // Zeros, so that what nobody computes is finite.
  static void* NewMemory(size_t bytes) {
    const size_t rounded = (bytes + 255) / 256 * 256;
    return std::memset(std::aligned_alloc(256, rounded), 0, rounded);
  }

  absl::Status Queue(std::string text, std::function<void()> work) {
    diary_.push_back(std::move(text));
    (recording_ ? recorded_ : queued_).push_back(std::move(work));
    return absl::OkStatus();
  }

  std::vector<std::string> diary_;
  bool recording_ = false;
  std::vector<std::function<void()>> queued_;
  std::vector<std::function<void()>> recorded_;
};

// Kernels that note their names.
inline constexpr engine::GpuKernels kFakeKernels = {
    .attention = [](const auto&, auto stream) { return FakeGpuRuntime::Note(stream, "attention"); },
    .bias_activation = [](const auto&,
                          auto stream) { return FakeGpuRuntime::Note(stream, "activation"); },
    .context_pool = [](const auto&,
                       auto stream) { return FakeGpuRuntime::Note(stream, "context pool"); },
    .context_pool_support = [](const auto&,
                               auto stream) { return FakeGpuRuntime::Note(stream, "support"); },
    .embedding = [](const auto&, auto stream) { return FakeGpuRuntime::Note(stream, "embedding"); },
    .im2col =
        [](const auto& p, auto stream) {
          return FakeGpuRuntime::Note(stream, absl::StrCat("patches ", p.first_row, " + ", p.rows));
        },
    .layer_norm = [](const auto&,
                     auto stream) { return FakeGpuRuntime::Note(stream, "layer norm"); },
    .patch_tokens = [](const auto&,
                       auto stream) { return FakeGpuRuntime::Note(stream, "patch tokens"); },
    .pool = [](const auto&, auto stream) { return FakeGpuRuntime::Note(stream, "pool"); },
};

}  // namespace contextpool::testing
