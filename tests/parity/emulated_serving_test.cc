// An engine that serves a whole model on the emulated GPU: from texts of many callers to answers,
// beside an engine on the CPU.

#include <algorithm>
#include <cmath>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/device/cpu_device.h"
#include "engine/device/emulated/emulated_gpu.h"
#include "engine/engine_impl.h"
#include "gtest/gtest.h"
#include "tests/support/fake_tokenizer.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

// Bytes below the model's vocabulary.
class SmallTokenizer final : public testing::FakeTokenizer {
 public:
  int32_t vocabulary_size() const override { return 97; }
};

std::unique_ptr<Engine> Serve(absl::StatusOr<std::unique_ptr<Device>> device) {
  EngineOptions options;
  ModelSpec& spec = options.models.emplace_back();
  spec.name = "bert";
  spec.directory = GoldenFolder() / "half" / "bert_context_pool";
  spec.max_tokens = 40;
  spec.queue.batch_token_budget = 64;
  EngineParts parts;
  parts.devices.push_back(*std::move(device));
  parts.load_model = LoadModel;
  parts.load_tokenizer = [](const ModelSpec&) { return std::make_unique<SmallTokenizer>(); };
  auto engine = std::make_unique<EngineImpl>(std::move(options), std::move(parts), Clock::Real());
  engine->WaitUntilLoaded();
  return engine;
}

using Texts = std::vector<std::string>;

// `texts` must live until the answer.
std::future<absl::StatusOr<Response>> Send(Engine& engine, TaskKind task, const Texts& texts) {
  Request request;
  request.task = task;
  for (const std::string& text : texts) request.inputs.emplace_back(TextInput{text});
  auto promise = std::make_shared<std::promise<absl::StatusOr<Response>>>();
  std::future<absl::StatusOr<Response>> future = promise->get_future();
  engine.Infer(std::move(request), [promise](absl::StatusOr<Response> response) {
    promise->set_value(std::move(response));
  });
  return future;
}

// Largest |found - wanted|, as a share of the largest |wanted|.
float Difference(const std::vector<float>& found, const std::vector<float>& wanted) {
  float largest = 0;
  float apart = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    largest = std::max(largest, std::abs(wanted[i]));
    apart = std::max(apart, std::abs(found.at(i) - wanted[i]));
  }
  return apart / largest;
}

TEST(EmulatedServingTest, ManyCallersGetWhatTheCpuAnswers) {
  const std::unique_ptr<Engine> gpu = Serve(CreateEmulatedGpu(DType::kBF16));
  const std::unique_ptr<Engine> cpu = Serve(CreateCpuDevice({.threads = 1}));
  const absl::StatusOr<ModelStatus> model = gpu->GetModel("bert", 0);
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_NE(model->info, nullptr);
  EXPECT_EQ(model->info->device, "emulated");
  EXPECT_EQ(model->info->dtype, DType::kBF16);

  const std::vector<Texts> calls = {
      {"A"}, {"CONTEXT POOLING, 2022", "B"}, {"0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ"}};
  for (TaskKind task : {TaskKind::kEmbed, TaskKind::kClassify}) {
    std::vector<std::future<absl::StatusOr<Response>>> answers;
    for (const Texts& texts : calls) answers.push_back(Send(*gpu, task, texts));
    for (size_t i = 0; i < calls.size(); ++i) {
      const absl::StatusOr<Response> found = answers[i].get();
      const absl::StatusOr<Response> wanted = Send(*cpu, task, calls[i]).get();
      ASSERT_TRUE(found.ok()) << found.status();
      ASSERT_TRUE(wanted.ok()) << wanted.status();
      ASSERT_EQ(found->values.size(), wanted->values.size());
      EXPECT_LE(Difference(found->values, wanted->values), 0.02F) << "call " << i;
      EXPECT_NE(found->values, wanted->values) << "one of them is not what it says";
    }
  }
}

}  // namespace
}  // namespace contextpool::engine
