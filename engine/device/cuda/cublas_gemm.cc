#include "engine/device/cuda/cublas_gemm.h"

namespace contextpool::engine {
namespace {

// Batches have as many row counts as the token budget, and a row count has an entry for each kind
// of product of each model. With one more than this all are dropped, and then each product is
// described and its algorithm chosen anew on the host when it comes next, while the GPU may run
// dry.
constexpr size_t kMaxProducts = 1 << 14;
// Of what GpuGemmParams points at, at least: an arena's alignment, or a row of 8 numbers.
constexpr uint32_t kAlignment = 16;

cudaDataType_t TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kF16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

cublasLtEpilogue_t EpilogueOf(const GpuGemmParams& p) {
  switch (p.activation) {
    case kernels::Activation::kRelu:
      return p.bias != nullptr ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    case kernels::Activation::kGeluTanh:
      return p.bias != nullptr ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    default:
      return p.bias != nullptr ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  }
}

// Calls one after the other until one fails.
class Steps {
 public:
  template <typename Call>
  Steps& Then(Call call) {
    if (status_ == CUBLAS_STATUS_SUCCESS) status_ = call();
    return *this;
  }
  cublasStatus_t status() const { return status_; }

 private:
  cublasStatus_t status_ = CUBLAS_STATUS_SUCCESS;
};

}  // namespace

// cuBLASLt's matrices are column by column, so that of out^T = W x^T the stored x is x^T already,
// and the stored W is to be transposed.
class CublasGemm::Product {
 public:
  explicit Product(const CublasLt& lt) : lt_(lt) {}
  ~Product() {
    for (cublasLtMatrixLayout_t layout : {weight_, x_, residual_, out_}) {
      if (layout != nullptr) lt_.MatrixLayoutDestroy(layout);
    }
    if (what_ != nullptr) lt_.MatmulDescDestroy(what_);
  }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  cublasStatus_t Describe(const GpuGemmParams& p) {
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const cublasLtEpilogue_t epilogue = EpilogueOf(p);
    const cudaDataType_t type = TypeOf(p.dtype), out_type = TypeOf(p.out_dtype);
    const int64_t residual_stride = p.residual != nullptr ? p.residual_stride : p.out_stride;
    return Steps()
        .Then([&] { return lt_.MatmulDescCreate(&what_, CUBLAS_COMPUTE_32F, CUDA_R_32F); })
        .Then([&] { return Set(CUBLASLT_MATMUL_DESC_TRANSA, transposed); })
        .Then([&] { return Set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue); })
        .Then([&] {
          return lt_.MatrixLayoutCreate(&weight_, type, p.in_columns, p.out_columns, p.in_columns);
        })
        .Then([&] { return lt_.MatrixLayoutCreate(&x_, type, p.in_columns, p.rows, p.x_stride); })
        .Then([&] {
          return lt_.MatrixLayoutCreate(&residual_, out_type, p.out_columns, p.rows,
                                        residual_stride);
        })
        .Then([&] {
          return lt_.MatrixLayoutCreate(&out_, out_type, p.out_columns, p.rows, p.out_stride);
        })
        .status();
  }

  cublasStatus_t Choose(cublasLtHandle_t handle) {
    cublasLtMatmulPreference_t preference = nullptr;
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    const size_t workspace = kWorkspaceBytes;
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      return [&, attribute] {
        return lt_.MatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value));
      };
    };
    cublasStatus_t status =
        Steps()
            .Then([&] { return lt_.MatmulPreferenceCreate(&preference); })
            .Then(prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace))
            .Then(prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, kAlignment))
            .Then(prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, kAlignment))
            .Then(prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, kAlignment))
            .Then(prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, kAlignment))
            .Then([&] {
              return lt_.MatmulAlgoGetHeuristic(handle, what_, weight_, x_, residual_, out_,
                                                preference, 1, &best, &found);
            })
            .status();
    if (preference != nullptr) lt_.MatmulPreferenceDestroy(preference);
    if (status == CUBLAS_STATUS_SUCCESS && found == 0) status = CUBLAS_STATUS_NOT_SUPPORTED;
    algorithm_ = best.algo;
    return status;
  }

  cublasStatus_t Queue(const GpuGemmParams& p, cublasLtHandle_t handle, void* workspace,
                       cudaStream_t stream) {
    const float one = 1;
    const float of_residual = p.residual != nullptr ? 1 : 0;
    const void* residual = p.residual != nullptr ? p.residual : p.out;
    Steps steps;
    if (p.bias != nullptr) {
      steps.Then([&] { return Set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias); });
    }
    return steps
        .Then([&] {
          return lt_.Matmul(handle, what_, &one, p.weight, weight_, p.x, x_, &of_residual, residual,
                            residual_, p.out, out_, &algorithm_, workspace, kWorkspaceBytes,
                            stream);
        })
        .status();
  }

 private:
  template <typename T>
  cublasStatus_t Set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    return lt_.MatmulDescSetAttribute(what_, attribute, &value, sizeof(value));
  }

  const CublasLt& lt_;
  cublasLtMatmulDesc_t what_ = nullptr;
  cublasLtMatrixLayout_t weight_ = nullptr, x_ = nullptr, residual_ = nullptr, out_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
};

CublasGemm::CublasGemm(std::string device, const CublasLt& lt, cublasLtHandle_t handle,
                       void* workspace)
    : device_(std::move(device)), lt_(lt), handle_(handle), workspace_(workspace) {}

CublasGemm::~CublasGemm() { lt_.Destroy(handle_); }

absl::StatusOr<std::unique_ptr<CublasGemm>> CublasGemm::Create(std::string device,
                                                               void* workspace) {
  const absl::StatusOr<const CublasLt*> lt = LoadCublasLt();
  if (!lt.ok()) return lt.status();
  cublasLtHandle_t handle = nullptr;
  absl::Status status = (*lt)->ToStatus(device, "cublasLtCreate", (*lt)->Create(&handle));
  if (!status.ok()) return status;
  return std::unique_ptr<CublasGemm>(new CublasGemm(std::move(device), **lt, handle, workspace));
}

absl::StatusOr<CublasGemm::Product*> CublasGemm::ProductFor(const GpuGemmParams& p) {
  const Shape shape = {
      p.dtype,      p.out_dtype,   p.activation, p.bias != nullptr, p.residual != nullptr, p.rows,
      p.in_columns, p.out_columns, p.x_stride,   p.residual_stride, p.out_stride};
  if (const auto known = products_.find(shape); known != products_.end())
    return known->second.get();
  auto product = std::make_unique<Product>(lt_);
  cublasStatus_t error = product->Describe(p);
  if (error != CUBLAS_STATUS_SUCCESS) {
    return lt_.ToStatus(device_, "cublasLtMatrixLayoutCreate", error);
  }
  error = product->Choose(handle_);
  if (error != CUBLAS_STATUS_SUCCESS) {
    return lt_.ToStatus(device_, "cublasLtMatmulAlgoGetHeuristic", error);
  }
  if (products_.size() >= kMaxProducts) products_.clear();
  return products_.emplace(shape, std::move(product)).first->second.get();
}

absl::Status CublasGemm::Multiply(const GpuGemmParams& p, cudaStream_t stream) {
  const absl::StatusOr<Product*> product = ProductFor(p);
  if (!product.ok()) return product.status();
  return lt_.ToStatus(device_, "cublasLtMatmul", (*product)->Queue(p, handle_, workspace_, stream));
}

}  // namespace contextpool::engine
