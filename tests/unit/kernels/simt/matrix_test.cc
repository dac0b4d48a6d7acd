// Matrix instructions against plain loops over whole matrices: no fragment layout but PTX's own
// formulas for who holds what.

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "kernels/cuda/primitives.cuh"
#include "kernels/simt/device_buffer.h"

namespace contextpool::kernels::emulated {
namespace {

using simt::DeviceBuffer;
using simt::FaultKind;
using simt::LaunchReport;

// Runs `kernel` in one warp.
LaunchReport RunWarp(const std::function<void()>& kernel, uint32_t threads = 32) {
  return simt::Run({.kernel = "matrix", .block = {threads}, .shared_bytes = 4096}, {}, kernel);
}

// Row and column of a fragment's i-th element, as PTX ISA 9.7.14.5.8 and 9.7.14.5.10 write them;
// `width` elements share a register: 2 or 4.
struct Place {
  int row;
  int column;
};

Place PlaceInA(int lane, int i, int width) {
  const int group = lane >> 2;
  const int in_group = lane % 4;
  const bool is_upper = i < width || (2 * width <= i && i < 3 * width);
  return {is_upper ? group : group + 8,
          in_group * width + (i & (width - 1)) + (i < 2 * width ? 0 : 4 * width)};
}

Place PlaceInB(int lane, int i, int width) {
  return {lane % 4 * width + (i & (width - 1)) + (i < width ? 0 : 4 * width), lane >> 2};
}

Place PlaceInD(int lane, int i) { return {(lane >> 2) + (i < 2 ? 0 : 8), lane % 4 * 2 + (i & 1)}; }

// Matrices whose elements are small whole numbers, so that every sum is exact.
std::vector<int> RandomMatrix(int size, int limit, int seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> uniform(-limit, limit);
  std::vector<int> values(size);
  for (int& value : values) value = uniform(random);
  return values;
}

// c [16, 8] + a [16, depth] b [depth, 8]
std::vector<int> Product(const std::vector<int>& a, const std::vector<int>& b,
                         const std::vector<int>& c, int depth) {
  std::vector<int> d = c;
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      for (int k = 0; k < depth; ++k) d[row * 8 + column] += a[row * depth + k] * b[k * 8 + column];
    }
  }
  return d;
}

template <typename T>
uint32_t Bits(int value) {
  if constexpr (sizeof(T) == 1) {
    return static_cast<uint8_t>(value);
  } else {
    return FromFloat<T>(static_cast<float>(value)).bits;
  }
}

template <typename T>
class MmaTest : public testing::Test {
 protected:
  static constexpr int kWidth = 4 / sizeof(T);
  static constexpr int kDepth = 8 * kWidth;
  using Sum = std::conditional_t<sizeof(T) == 1, int32_t, float>;

  // The instruction's result, put together from what the lanes hold.
  std::vector<int> Multiply(const std::vector<int>& a, const std::vector<int>& b,
                            const std::vector<int>& c) {
    std::vector<int> result(16 * 8);
    const LaunchReport report = RunWarp([&] {
      const int lane = ThreadIdx().x;
      Vec<uint32_t, 4> fragment_a = {};
      Vec<uint32_t, 2> fragment_b = {};
      Vec<Sum, 4> d;
      for (int i = 0; i < 4 * kWidth; ++i) {
        const Place place = PlaceInA(lane, i, kWidth);
        fragment_a[i / kWidth] |= Bits<T>(a[place.row * kDepth + place.column])
                                  << i % kWidth * 8 * sizeof(T);
      }
      for (int i = 0; i < 2 * kWidth; ++i) {
        const Place place = PlaceInB(lane, i, kWidth);
        fragment_b[i / kWidth] |= Bits<T>(b[place.row * 8 + place.column])
                                  << i % kWidth * 8 * sizeof(T);
      }
      for (int i = 0; i < 4; ++i) {
        const Place place = PlaceInD(lane, i);
        d[i] = static_cast<Sum>(c[place.row * 8 + place.column]);
      }
      if constexpr (sizeof(T) == 1) {
        MmaS8(d, fragment_a, fragment_b);
      } else {
        Mma<T>(d, fragment_a, fragment_b);
      }
      for (int i = 0; i < 4; ++i) {
        const Place place = PlaceInD(lane, i);
        result[place.row * 8 + place.column] = static_cast<int>(d[i]);
      }
    });
    EXPECT_TRUE(report.ok()) << report;
    return result;
  }
};

using MmaTypes = testing::Types<BF16, F16, int8_t>;
TYPED_TEST_SUITE(MmaTest, MmaTypes);

TYPED_TEST(MmaTest, IsAMatrixProduct) {
  constexpr int kDepth = TestFixture::kDepth;
  // As large as every type holds exactly.
  constexpr int kLimit = 127;
  const std::vector<int> a = RandomMatrix(16 * kDepth, kLimit, 1);
  const std::vector<int> b = RandomMatrix(kDepth * 8, kLimit, 2);
  const std::vector<int> c = RandomMatrix(16 * 8, 1000, 3);
  EXPECT_EQ(this->Multiply(a, b, c), Product(a, b, c, kDepth));
}

TYPED_TEST(MmaTest, EachElementOfAMeetsItsRowOfB) {
  constexpr int kDepth = TestFixture::kDepth;
  const std::vector<int> b = RandomMatrix(kDepth * 8, 100, 4);
  const std::vector<int> c(16 * 8);
  for (int i = 0; i < 16 * kDepth; ++i) {
    std::vector<int> a(16 * kDepth);
    a[i] = 1;
    ASSERT_EQ(this->Multiply(a, b, c), Product(a, b, c, kDepth)) << i;
  }
}

// A tile of 16 x 32 elements, number = 100 row + column; the matrices lie in it side by side and
// one below the other.
constexpr int kTileColumns = 32;

int ElementAt(int row, int column) { return 100 * row + column; }

void FillTile(Shared<uint16_t> tile) {
  for (int i = ThreadIdx().x; i < 16 * kTileColumns; i += 32) {
    tile.Store(i, static_cast<uint16_t>(ElementAt(i / kTileColumns, i % kTileColumns)));
  }
  SyncWarp();
}

// Where matrix m starts.
Place Corner(int m) { return {m % 2 * 8, m / 2 * 16 + 8}; }

int RowAddress(int lane, int matrices) {
  const Place corner = Corner(lane / 8 % matrices);
  return (corner.row + lane % 8) * kTileColumns + corner.column;
}

template <int N, bool kTransposed>
void ExpectLoadsAsPtxSays() {
  std::vector<Vec<uint32_t, N>> fragments(32);
  const LaunchReport report = RunWarp([&] {
    SIMT_SHARED(uint16_t, tile, 16 * kTileColumns);
    FillTile(tile);
    const int lane = ThreadIdx().x;
    fragments[lane] = kTransposed ? LoadMatrixTransposed<N>(tile, RowAddress(lane, N))
                                  : LoadMatrix<N>(tile, RowAddress(lane, N));
  });
  ASSERT_TRUE(report.ok()) << report;
  for (int lane = 0; lane < 32; ++lane) {
    for (int m = 0; m < N; ++m) {
      for (int k = 0; k < 2; ++k) {
        // PTX ISA 9.7.14.5.15: four lanes hold a row, two elements each.
        const int row = kTransposed ? lane % 4 * 2 + k : lane / 4;
        const int column = kTransposed ? lane / 4 : lane % 4 * 2 + k;
        EXPECT_EQ(fragments[lane][m] >> 16 * k & 0xffff,
                  static_cast<uint32_t>(ElementAt(Corner(m).row + row, Corner(m).column + column)))
            << "lane " << lane << " matrix " << m << " half " << k;
      }
    }
  }
}

TEST(LoadMatrixTest, GivesEachLaneTheElementsThatPtxSays) {
  ExpectLoadsAsPtxSays<1, false>();
  ExpectLoadsAsPtxSays<2, false>();
  ExpectLoadsAsPtxSays<4, false>();
  ExpectLoadsAsPtxSays<1, true>();
  ExpectLoadsAsPtxSays<2, true>();
  ExpectLoadsAsPtxSays<4, true>();
}

// Loads, stores elsewhere, and returns what is there now.
template <int N, bool kTransposed>
std::vector<uint16_t> LoadedAndStored() {
  DeviceBuffer<uint16_t> out(N * 64);
  const LaunchReport report = RunWarp([&] {
    SIMT_SHARED(uint16_t, tile, 16 * kTileColumns);
    SIMT_SHARED(uint16_t, copy, N * 64);
    FillTile(tile);
    const int lane = ThreadIdx().x;
    const Vec<uint32_t, N> fragments = LoadMatrix<N>(tile, RowAddress(lane, N));
    // Row r of matrix m.
    const int row = lane % (8 * N) * 8;
    if (kTransposed) {
      StoreMatrixTransposed(copy, row, fragments);
    } else {
      StoreMatrix(copy, row, fragments);
    }
    SyncWarp();
    const Global<uint16_t> global(out.data(), out.size());
    for (int i = lane; i < N * 64; i += 32) global.Store(i, copy.Load(i));
  });
  EXPECT_TRUE(report.ok()) << report;
  return out.ToHost();
}

template <int N>
void ExpectStoresWhatWasLoaded() {
  const std::vector<uint16_t> plain = LoadedAndStored<N, false>();
  const std::vector<uint16_t> transposed = LoadedAndStored<N, true>();
  for (int m = 0; m < N; ++m) {
    for (int row = 0; row < 8; ++row) {
      for (int column = 0; column < 8; ++column) {
        const int expected = ElementAt(Corner(m).row + row, Corner(m).column + column);
        EXPECT_EQ(plain[m * 64 + row * 8 + column], expected);
        EXPECT_EQ(transposed[m * 64 + column * 8 + row], expected);
      }
    }
  }
}

TEST(StoreMatrixTest, IsTheOppositeOfLoadMatrix) {
  ExpectStoresWhatWasLoaded<1>();
  ExpectStoresWhatWasLoaded<2>();
  ExpectStoresWhatWasLoaded<4>();
}

TEST(LoadMatrixTest, LooksAtTheAddressesOfItsOwnLanesOnly) {
  const LaunchReport report = RunWarp([] {
    SIMT_SHARED(uint16_t, tile, 16 * kTileColumns);
    FillTile(tile);
    const int lane = ThreadIdx().x;
    LoadMatrix<1>(tile, lane < 8 ? lane * kTileColumns : 1'000'000);
  });
  EXPECT_TRUE(report.ok()) << report;
}

TEST(LoadMatrixTest, ARowAtAnOddPlaceIsMisaligned) {
  const LaunchReport report = RunWarp([] {
    SIMT_SHARED(uint16_t, tile, 16 * kTileColumns);
    FillTile(tile);
    const int lane = ThreadIdx().x;
    LoadMatrix<4>(tile, lane == 9 ? 4 : lane % 8 * kTileColumns);
  });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.fault->kind, FaultKind::kMisaligned);
  EXPECT_EQ(report.fault->thread, (Dim3{9, 0, 0}));
}

TEST(LoadMatrixTest, NamesTheLaneWhoseRowNobodyWrote) {
  const LaunchReport report = RunWarp([] {
    SIMT_SHARED(uint16_t, tile, 32 * 8);
    const int lane = ThreadIdx().x;
    if (lane != 21) tile.StoreVec(lane * 8, Vec<uint16_t, 8>{});
    SyncWarp();
    LoadMatrix<4>(tile, lane * 8);
  });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.fault->kind, FaultKind::kUninitialised);
  EXPECT_EQ(report.fault->thread, (Dim3{21, 0, 0}));
}

TEST(MatrixTest, NeedsAWholeWarp) {
  const LaunchReport report = RunWarp(
      [] {
        Vec<float, 4> d = {};
        Mma<BF16>(d, {}, {});
      },
      24);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.fault->kind, FaultKind::kDivergentCollective);
}

TEST(MatrixTest, LanesInTwoBranchesDoNotMeet) {
  const LaunchReport report = RunWarp([] {
    Vec<float, 4> d = {};
    if (ThreadIdx().x < 16) {
      Mma<BF16>(d, {}, {});
    } else {
      Mma<BF16>(d, {}, {});
    }
  });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.fault->kind, FaultKind::kDivergentCollective);
}

}  // namespace
}  // namespace contextpool::kernels::emulated
