#include "engine/model_loader.h"

#include <future>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "tests/support/fake_device.h"
#include "tests/support/fake_model.h"
#include "tests/support/fake_tokenizer.h"

namespace contextpool::engine {
namespace {

class ModelLoaderTest : public ::testing::Test {
 protected:
  ModelLoaderTest() {
    parts_.devices.push_back(std::make_unique<testing::FakeDevice>());
    workers_.push_back(
        std::make_unique<Worker>(*parts_.devices[0], EngineOptions().queue, Clock::Real()));
    parts_.load_model = [this](const ModelSpec& spec, Device&) {
      return std::make_unique<testing::FakeModel>(spec, hooks_);
    };
    parts_.load_tokenizer = [](const ModelSpec&) {
      return std::make_unique<testing::FakeTokenizer>();
    };
    loader_.emplace(std::vector<ModelSpec>{}, parts_, Clock::Real(),
                    ModelLoader::Stages{models_, workers_});
  }

  absl::Status Load(const std::string& name) {
    ModelSpec spec;
    spec.name = name;
    std::promise<absl::Status> loaded;
    loader_->Load(std::move(spec), [&](auto model) { loaded.set_value(model.status()); });
    return loaded.get_future().get();
  }

  // What the next queue would be called.
  QueueId NextQueue() {
    QueueOptions options;
    options.batch_token_budget = 1;
    Batcher& batcher = workers_[0]->batcher();
    const QueueId id = batcher.AddQueue(options);
    batcher.RemoveQueue(id);
    return id;
  }

  testing::FakeModel::Hooks hooks_;
  EngineParts parts_;
  ModelSet models_{{}};
  Workers workers_;
  std::optional<ModelLoader> loader_;
};

TEST_F(ModelLoaderTest, ReloadsAndUnloadsGiveTheirQueuesBack) {
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(Load("m").ok());
  std::promise<absl::Status> unloaded;
  loader_->Unload({"m", 1}, [&](absl::Status status) { unloaded.set_value(std::move(status)); });
  ASSERT_TRUE(unloaded.get_future().get().ok());
  EXPECT_EQ(NextQueue(), 0);
}

TEST_F(ModelLoaderTest, LoadsThatFailGiveTheirQueuesBack) {
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(Load("z large").ok());
  EXPECT_EQ(NextQueue(), 0);
}

}  // namespace
}  // namespace contextpool::engine
