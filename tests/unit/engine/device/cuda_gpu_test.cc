// What only a GPU can show: the runtime's memory, copies, products, graphs and errors.

#include "engine/device/cuda/cuda_gpu.h"

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "engine/base/float16.h"
#include "engine/device/cuda/cuda_runtime.h"
#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

// Numbers as they are on the device, rounded to its type.
std::vector<float> Numbers(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> numbers(count);
  for (float& number : numbers) number = uniform(random);
  std::vector<uint16_t> narrow(count);
  Narrow(numbers, DType::kBF16, narrow.data());
  for (size_t i = 0; i < count; ++i) numbers[i] = FloatFromBF16(narrow[i]);
  return numbers;
}

double Activated(double x, kernels::Activation activation) {
  switch (activation) {
    case kernels::Activation::kRelu:
      return std::max(x, 0.0);
    case kernels::Activation::kGelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case kernels::Activation::kGeluTanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case kernels::Activation::kTanh:
      return std::tanh(x);
    default:
      return x;
  }
}

class CudaGpuTest : public ::testing::Test {
 protected:
  CudaGpuTest() : device_(Create()) {}

  static std::unique_ptr<Device> Create() {
    absl::StatusOr<std::unique_ptr<Device>> device = CreateCudaGpu(0, DType::kBF16);
    if (!device.ok()) throw std::runtime_error(device.status().ToString());
    return *std::move(device);
  }

  // Not initialised, or with the numbers in bfloat16.
  DeviceBuffer Buffer(size_t bytes) { return *device_->Allocate(bytes); }
  DeviceBuffer Buffer(const std::vector<float>& numbers) {
    std::vector<uint16_t> narrow(numbers.size());
    Narrow(numbers, DType::kBF16, narrow.data());
    DeviceBuffer buffer = Buffer(narrow.size() * sizeof(uint16_t));
    EXPECT_EQ(device_->Upload(buffer.data(), narrow.data(), narrow.size() * sizeof(uint16_t)),
              absl::OkStatus());
    return buffer;
  }

  std::vector<float> Fetch(const TensorView& tensor) {
    std::vector<char> bytes(tensor.bytes());
    device_->CopyToHost(bytes.data(), tensor.data, bytes.size());
    EXPECT_EQ(device_->Synchronize(), absl::OkStatus());
    std::vector<float> numbers(static_cast<size_t>(tensor.elements()));
    for (size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = tensor.dtype == DType::kF32
                       ? reinterpret_cast<const float*>(bytes.data())[i]
                       : FloatFromBF16(reinterpret_cast<const uint16_t*>(bytes.data())[i]);
    }
    return numbers;
  }

  std::unique_ptr<Device> device_;
};

struct Product {
  int64_t rows, in, out;
  kernels::Activation activation;
  bool residual;
  DType out_dtype;
};

// Rows that begin at odd places, a single column, more rows than any tile, every epilogue.
constexpr Product kProducts[] = {
    {1, 64, 192, kernels::Activation::kNone, false, DType::kBF16},
    {7, 588, 96, kernels::Activation::kNone, true, DType::kBF16},
    {300, 96, 384, kernels::Activation::kGelu, false, DType::kBF16},
    {300, 96, 384, kernels::Activation::kGeluTanh, false, DType::kBF16},
    {129, 384, 96, kernels::Activation::kRelu, false, DType::kBF16},
    {5, 96, 96, kernels::Activation::kTanh, false, DType::kF32},
    {5, 96, 2, kernels::Activation::kNone, false, DType::kF32},
    {1, 96, 1, kernels::Activation::kNone, false, DType::kF32},
    {1000, 768, 768, kernels::Activation::kNone, true, DType::kBF16},
};

TEST_F(CudaGpuTest, ProductsWithTheirBiasResidualAndActivation) {
  for (const Product& p : kProducts) {
    SCOPED_TRACE(testing::Message() << p.rows << " x " << p.in << " x " << p.out);
    const std::vector<float> x = Numbers(p.rows * p.in, 1), weight = Numbers(p.out * p.in, 2);
    const std::vector<float> bias = Numbers(p.out, 3), residual = Numbers(p.rows * p.out, 4);
    const auto linear = *device_->PrepareLinear(weight, bias, p.out);
    const DeviceBuffer x_buffer = Buffer(x), residual_buffer = Buffer(residual);
    const DeviceBuffer out_buffer = Buffer(p.rows * p.out * sizeof(float));
    const TensorView x_view(x_buffer.data(), DType::kBF16, {p.rows, p.in});
    const TensorView out(out_buffer.data(), p.out_dtype, {p.rows, p.out});
    if (p.residual) {
      device_->LinearResidual(
          x_view, *linear, TensorView(residual_buffer.data(), DType::kBF16, {p.rows, p.out}), out);
    } else {
      device_->Linear(x_view, *linear, p.activation, out);
    }
    const std::vector<float> found = Fetch(out);
    // A rounding of the result, and before a kernel of its own one of the product.
    const double relative = p.out_dtype == DType::kF32 ? 1e-4 : 1.0 / 128;
    for (int64_t row = 0; row < p.rows; ++row) {
      for (int64_t column = 0; column < p.out; ++column) {
        double sum = bias[column];
        for (int64_t k = 0; k < p.in; ++k) {
          sum += static_cast<double>(x[row * p.in + k]) * weight[column * p.in + k];
        }
        if (p.residual) sum += residual[row * p.out + column];
        const double wanted = Activated(sum, p.activation);
        ASSERT_NEAR(found[row * p.out + column], wanted, relative * (1 + std::abs(sum)))
            << row << ", " << column;
      }
    }
  }
}

TEST_F(CudaGpuTest, APassIsReplayedWithWhatIsCopiedInNow) {
  constexpr int64_t kRows = 4, kColumns = 64;
  const auto linear =
      *device_->PrepareLinear(Numbers(kColumns * kColumns, 1), Numbers(kColumns, 2), kColumns);
  const DeviceBuffer x = Buffer(kRows * kColumns * 2), out = Buffer(kRows * kColumns * 2);
  const TensorView x_view(x.data(), DType::kBF16, {kRows, kColumns});
  const TensorView out_view(out.data(), DType::kBF16, {kRows, kColumns});
  const auto pass = [&](uint32_t seed) {
    std::vector<uint16_t> narrow(kRows * kColumns);
    Narrow(Numbers(narrow.size(), seed), DType::kBF16, narrow.data());
    device_->CopyToDevice(x.data(), narrow.data(), narrow.size() * 2);
    device_->Linear(x_view, *linear, kernels::Activation::kNone, out_view);
    return Fetch(out_view);
  };
  const std::vector<float> first = pass(10), second = pass(11);
  EXPECT_NE(first, second);
  for (int again = 0; again < 5; ++again) {
    EXPECT_EQ(pass(10), first);
    EXPECT_EQ(pass(11), second);
  }
}

// That there are graphs at all: without them passes would be queued, and nobody would notice.
TEST(CudaRuntimeTest, AGraphCopiesWhatIsThereWhenItIsLaunched) {
  const std::unique_ptr<GpuRuntime> runtime = *CreateCudaRuntime(0);
  auto* there = static_cast<char*>(*runtime->AllocateHost(1));
  auto* back = static_cast<char*>(*runtime->AllocateHost(1));
  void* on_gpu = *runtime->Allocate(1);
  *there = 'a';
  *back = '-';
  ASSERT_EQ(runtime->BeginCapture(), absl::OkStatus());
  EXPECT_EQ(runtime->CopyToDevice(on_gpu, there, 1), absl::OkStatus());
  EXPECT_EQ(runtime->CopyToHost(back, on_gpu, 1), absl::OkStatus());
  absl::StatusOr<std::unique_ptr<GpuGraph>> graph = runtime->EndCapture();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(runtime->Synchronize(), absl::OkStatus());
  EXPECT_EQ(*back, '-');
  for (char letter : {'b', 'c'}) {
    *there = letter;
    EXPECT_EQ(runtime->Launch(**graph), absl::OkStatus());
    EXPECT_EQ(runtime->Synchronize(), absl::OkStatus());
    EXPECT_EQ(*back, letter);
  }
  graph->reset();
  runtime->Free(on_gpu);
  runtime->FreeHost(there);
  runtime->FreeHost(back);
}

TEST_F(CudaGpuTest, TooLargeAnAllocationSaysSoAndHarmsNothing) {
  const auto buffer = device_->Allocate(size_t{1} << 50);
  EXPECT_TRUE(absl::IsResourceExhausted(buffer.status())) << buffer.status();
  EXPECT_TRUE(device_->Allocate(1 << 20).ok());
  EXPECT_EQ(device_->Synchronize(), absl::OkStatus());
}

TEST_F(CudaGpuTest, TwoDevicesShareAGpu) {
  const std::unique_ptr<Device> other = Create();
  const DeviceBuffer mine = Buffer(Numbers(64, 1));
  const auto theirs = *other->Allocate(128);
  EXPECT_NE(mine.data(), theirs.data());
  EXPECT_EQ(other->Synchronize(), absl::OkStatus());
}

TEST_F(CudaGpuTest, AGpuThatIsNotThereIsNamed) {
  const auto none = CreateCudaGpu(1000, DType::kBF16);
  EXPECT_TRUE(absl::IsUnavailable(none.status()));
  EXPECT_NE(none.status().message().find("cuda:1000"), std::string::npos) << none.status();
}

}  // namespace
}  // namespace contextpool::engine
