// Whole models on the executor of a GPU, by the diary of a runtime that computes nothing.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/device/gpu_device.h"
#include "engine/execution/executor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_gpu_runtime.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr BatchLimits kLimits = {.tokens = 8192, .sequences = 512};
constexpr OutputSpec kLogits = {.task = TaskKind::kClassify};
constexpr OutputSpec kExplained = {.task = TaskKind::kEmbed, .explain = true};

// One sequence for each of `outputs`.
struct Wish {
  int64_t length = 0;
  std::vector<OutputSpec> outputs;
  std::function<void()> before = [] {};
};

// What a batch was for the runtime, and for who waited for it.
struct Deed {
  std::vector<std::string> diary;
  int synchronized = 0;
  int host_allocations = 0;
  std::vector<absl::Status> answers;

  int64_t Count(const std::string& what) const {
    return std::ranges::count_if(diary,
                                 [&](const std::string& line) { return line.starts_with(what); });
  }
};

// Hands out one batch after the other, and notes what became of each.
class Wishes final : public BatchSource, public Completion {
 public:
  Wishes(const ModelInfo& info, testing::FakeGpuRuntime& runtime, std::vector<Wish> wishes)
      : info_(info), runtime_(runtime), wishes_(std::move(wishes)), ids_(kLimits.tokens, 1) {
    if (info.image) pixels_.resize(info.image->bytes());
  }

  std::vector<Deed>& deeds() { return deeds_; }

  bool NextBatch(Batch& batch) override {
    if (next_ > 0) NoteDeed();
    if (next_ == wishes_.size()) return false;
    const Wish& wish = wishes_[next_++];
    tasks_.clear();
    batch = {};
    batch.queue = 0;
    for (const OutputSpec& output : wish.outputs) AddTask(output, wish.length, batch);
    Begin();
    wish.before();
    return true;
  }
  void Seal(Batch& /*batch*/) override {}
  void Finish(Task& /*task*/, absl::Status status) override {
    answers_.push_back(std::move(status));
  }
  void Abort(int64_t /*tasks*/, absl::Status status) override {
    answers_.push_back(std::move(status));
  }

 private:
  void AddTask(const OutputSpec& output, int64_t length, Batch& batch) {
    Task& task = tasks_.emplace_back();
    task.cost = info_.image ? info_.max_tokens : length;
    if (info_.image) {
      task.pixels = pixels_;
    } else {
      task.token_ids = std::span(ids_).first(length);
    }
    task.output = output;
    const bool embeds = output.task == TaskKind::kEmbed;
    values_.resize(std::max<size_t>(info_.embedding_dimensions, info_.labels.size()));
    task.values =
        std::span(values_).first(embeds ? info_.embedding_dimensions : info_.labels.size());
    task.completion = this;
    batch.tasks.push_back(&task);
  }

  void Begin() {
    runtime_.Diary();
    synchronized_ = runtime_.synchronized;
    host_allocations_ = runtime_.host_allocations;
  }
  void NoteDeed() {
    deeds_.push_back({runtime_.Diary(), runtime_.synchronized - synchronized_,
                      runtime_.host_allocations - host_allocations_, std::exchange(answers_, {})});
  }

  const ModelInfo& info_;
  testing::FakeGpuRuntime& runtime_;
  const std::vector<Wish> wishes_;
  size_t next_ = 0;
  const std::vector<int32_t> ids_;
  std::vector<uint8_t> pixels_;
  std::deque<Task> tasks_;
  std::vector<float> values_;
  int synchronized_ = 0;
  int host_allocations_ = 0;
  std::vector<absl::Status> answers_;
  std::vector<Deed> deeds_;
};

std::vector<OutputSpec> Times(int64_t count, const OutputSpec& output) {
  return std::vector<OutputSpec>(count, output);
}

// Models of tests/golden/half, which classify.
class GpuExecutorTest : public ::testing::TestWithParam<const char*> {
 protected:
  GpuExecutorTest() {
    auto runtime = std::make_unique<testing::FakeGpuRuntime>();
    runtime_ = runtime.get();
    device_ = CreateGpuDevice(std::move(runtime), testing::kFakeKernels, DType::kBF16);
    ModelSpec spec;
    spec.directory = GoldenFolder() / "half" / GetParam();
    model_ = *LoadModel(spec, *device_);
    for (size_t i = 0; i < pooling_layers(); ++i) {
      counters_.context_pool.support_size.emplace_back(Histogram::SupportSizeBounds());
    }
  }

  // What has the most to do.
  OutputSpec Embedding() const {
    return {.pooling = model_->info().pools(Pooling::kPooler) ? Pooling::kPooler : Pooling::kMean};
  }
  size_t pooling_layers() const { return model_->info().context_pool_layers.size(); }

  // What the batches were after a first one, which the executor always looks into.
  std::vector<Deed> Compute(std::vector<Wish> wishes) {
    wishes.insert(wishes.begin(), Wish{1, {Embedding()}});
    Wishes source(model_->info(), *runtime_, std::move(wishes));
    {
      Executor executor(*device_, clock_);
      const auto added = executor.AddModel(0, *model_, kLimits, nullptr, counters_);
      EXPECT_TRUE(added.ok()) << added.status();
      executor.Start(source);
    }
    source.deeds().erase(source.deeds().begin());
    return std::move(source.deeds());
  }

  testing::FakeGpuRuntime* runtime_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Model> model_;
  ModelCounters counters_;
  testing::FakeClock clock_;
};

// Large ones, and a small one for the first time.
TEST_P(GpuExecutorTest, ABatchIsOneCopyInOneOutOfEachKindAndOneWait) {
  std::vector<OutputSpec> both = Times(8, Embedding());
  both.insert(both.begin() + 3, 4, kLogits);
  const std::vector<Deed> deeds = Compute({{100, Times(9, Embedding())},
                                           {100, Times(9, kLogits)},
                                           {100, both},
                                           {7, Times(1, kLogits)},
                                           {100, Times(9, kExplained)}});
  // What ContextPool chose, and its tiles.
  const int explanations = pooling_layers() > 0 ? 2 : 0;
  const std::vector<int> copies_out = {1, 1, 2, 1, 1 + explanations};
  ASSERT_EQ(deeds.size(), copies_out.size());
  for (size_t i = 0; i < deeds.size(); ++i) {
    SCOPED_TRACE(i);
    const Deed& deed = deeds[i];
    EXPECT_THAT(deed.answers, Each(absl::OkStatus()));
    ASSERT_FALSE(deed.diary.empty());
    EXPECT_THAT(deed.diary.front(), StartsWith("in "));
    EXPECT_EQ(deed.Count("in "), 1);
    EXPECT_EQ(deed.Count("out "), copies_out[i]);
    EXPECT_EQ(deed.Count("attention"), 2) << "its layers";
    const int64_t pools = deed.Count("context pool");
    EXPECT_EQ(pools, static_cast<int64_t>(pooling_layers()));
    EXPECT_EQ(deed.synchronized, 1);
  }
}

TEST_P(GpuExecutorTest, ASmallBatchThatCameTwiceIsOneGraph) {
  const Wish wish = {7, Times(1, kLogits)};
  const std::vector<Deed> deeds = Compute({wish, wish, wish});
  EXPECT_THAT(deeds.back().diary, ElementsAre("graph"));
  EXPECT_EQ(deeds.back().synchronized, 1);
}

TEST_P(GpuExecutorTest, AModelThatIsLoadedHasAllThePageLockedMemoryThatItNeeds) {
  const ModelInfo& info = model_->info();
  const int64_t most = info.image ? kLimits.tokens / info.max_tokens : kLimits.sequences;
  std::vector<OutputSpec> both = Times(most, kExplained);
  both.back() = kLogits;
  const std::vector<Deed> deeds = Compute({{kLimits.tokens / most, Times(most, Embedding())},
                                           {kLimits.tokens / most, Times(most, kLogits)},
                                           {kLimits.tokens / most, both},
                                           {1, Times(most, Embedding())},
                                           {info.max_tokens, Times(3, kLogits)}});
  ASSERT_THAT(deeds, SizeIs(5));
  for (const Deed& deed : deeds) {
    EXPECT_THAT(deed.answers, Each(absl::OkStatus()));
    EXPECT_EQ(deed.host_allocations, 0);
    EXPECT_EQ(deed.Count("in "), 1);
  }
}

TEST_P(GpuExecutorTest, ABatchThatFailsOrThrowsIsWaitedForAndTheNextIsRight) {
  const Wish right = {100, Times(9, Embedding())};
  Wish fails = right, throws = right, throws_at_its_end = {7, Times(1, kLogits)};
  fails.before = [&] { runtime_->next_copy = absl::InternalError("no copy"); };
  throws.before = throws_at_its_end.before = [&] { runtime_->next_product_throws = true; };
  const std::vector<Deed> deeds =
      Compute({right, fails, right, throws, right, throws_at_its_end, right});
  ASSERT_THAT(deeds, SizeIs(7));
  const absl::Status no_memory =
      absl::InternalError("there is not enough memory to compute the batch");
  EXPECT_THAT(deeds[1].answers, Each(absl::InternalError("no copy")));
  EXPECT_THAT(deeds[3].answers, Each(no_memory));
  EXPECT_THAT(deeds[5].answers, ElementsAre(no_memory));
  for (const Deed& deed : deeds) EXPECT_EQ(deed.synchronized, 1);
  for (size_t i = 0; i < deeds.size(); i += 2) {
    EXPECT_THAT(deeds[i].answers, Each(absl::OkStatus()));
    EXPECT_EQ(deeds[i].diary, deeds[0].diary);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GpuExecutorTest,
                         ::testing::Values("bert", "bert_context_pool", "vit_context_pool"),
                         [](const ::testing::TestParamInfo<const char*>& info) {
                           return std::string(info.param);
                         });

}  // namespace
}  // namespace contextpool::engine
