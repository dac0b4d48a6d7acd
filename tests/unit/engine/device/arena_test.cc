#include "engine/device/arena.h"

#include <gtest/gtest.h>

#include "engine/device/cpu_device.h"

namespace contextpool::engine {
namespace {

class ArenaTest : public testing::Test {
 protected:
  ArenaTest() : device_(*CreateCpuDevice({.threads = 1})) {}
  std::unique_ptr<Device> device_;
};

TEST_F(ArenaTest, HandsOutAlignedPlacesThatDoNotOverlap) {
  Arena arena = *Arena::Create(*device_, 256);
  char* first = static_cast<char*>(arena.Allocate(1));
  char* second = static_cast<char*>(arena.Allocate(64));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % Arena::kAlignment, 0u);
  EXPECT_EQ(second - first, 64);
  EXPECT_EQ(arena.used(), 128u);
}

TEST_F(ArenaTest, ReturnsNullWhenFullAndKeepsWhatIsLeft) {
  Arena arena = *Arena::Create(*device_, 128);
  EXPECT_EQ(arena.Allocate(129), nullptr);
  EXPECT_EQ(arena.Allocate(SIZE_MAX), nullptr);
  EXPECT_EQ(arena.Tensor(DType::kF32, {1 << 20, 1 << 20}).data, nullptr);
  EXPECT_NE(arena.Allocate(128), nullptr);
  EXPECT_EQ(arena.Allocate(1), nullptr);
}

TEST_F(ArenaTest, RefusesASizeThatWrapsWhenPadded) {
  for (size_t bytes : {SIZE_MAX, SIZE_MAX - 62}) {
    EXPECT_EQ(Arena::Create(*device_, bytes).status().code(), absl::StatusCode::kResourceExhausted);
  }
}

TEST_F(ArenaTest, ResetAndRewindGiveTheSamePlacesAgain) {
  Arena arena = *Arena::Create(*device_, 1024);
  void* first = arena.Allocate(10);
  const size_t mark = arena.used();
  void* second = arena.Allocate(10);
  arena.Rewind(mark);
  EXPECT_EQ(arena.Allocate(10), second);
  arena.Reset();
  EXPECT_EQ(arena.Allocate(10), first);
}

TEST_F(ArenaTest, TensorsAreDenseAndRowMajor) {
  Arena arena = *Arena::Create(*device_, 1024);
  const TensorView view = arena.Tensor(DType::kF32, {2, 3, 4});
  EXPECT_EQ(view.rank, 3);
  EXPECT_EQ(view.strides[0], 12);
  EXPECT_EQ(view.strides[1], 4);
  EXPECT_EQ(view.strides[2], 1);
  EXPECT_EQ(view.bytes(), 96u);
}

}  // namespace
}  // namespace contextpool::engine
