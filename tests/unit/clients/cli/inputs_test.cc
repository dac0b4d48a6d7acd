#include "clients/cli/inputs.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

// Inputs that are known by their sizes.
class SizedInputs : public InputList {
 public:
  explicit SizedInputs(std::vector<size_t> sizes)
      : InputList(std::vector<std::string>(sizes.size())), sizes_(std::move(sizes)) {}

  bool are_images() const override { return false; }
  RequestLimits limits() const override { return {.max_inputs = 3, .max_bytes = 10}; }
  size_t bytes(size_t i) const override { return sizes_[i]; }
  absl::StatusOr<std::string> Load(size_t) override { return absl::UnimplementedError(""); }

 private:
  const std::vector<size_t> sizes_;
};

std::vector<std::pair<size_t, size_t>> Plan(std::vector<size_t> sizes) {
  std::vector<std::pair<size_t, size_t>> plan;
  for (const Chunk& chunk : PlanRequests(SizedInputs(std::move(sizes)))) {
    plan.emplace_back(chunk.first, chunk.count);
  }
  return plan;
}

TEST(PlanRequests, CutsByInputs) {
  EXPECT_THAT(Plan({0, 0, 0, 0, 0, 0, 0}), ElementsAre(Pair(0, 3), Pair(3, 3), Pair(6, 1)));
}

TEST(PlanRequests, CutsByBytesAndSendsALargeInputAlone) {
  EXPECT_THAT(Plan({5, 5, 1, 14, 1, 1}),
              ElementsAre(Pair(0, 2), Pair(2, 1), Pair(3, 1), Pair(4, 2)));
  EXPECT_THAT(Plan({14, 0}), ElementsAre(Pair(0, 1), Pair(1, 1)));
}

TEST(PlanRequests, DoesNotOverflow) {
  constexpr size_t kMost = std::numeric_limits<size_t>::max();
  EXPECT_THAT(Plan({1, kMost, kMost, 1}),
              ElementsAre(Pair(0, 1), Pair(1, 1), Pair(2, 1), Pair(3, 1)));
}

}  // namespace
}  // namespace contextpool::cli
