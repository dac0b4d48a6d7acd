// cuBLASLt, loaded when the first GPU is used: half a gigabyte that a server on a CPU neither needs
// nor waits for.
#pragma once

#include <cublasLt.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace contextpool::engine {

// The functions in use, as cuBLASLt's documentation describes them.
struct CublasLt {
  decltype(&cublasLtCreate) Create;
  decltype(&cublasLtDestroy) Destroy;
  decltype(&cublasLtGetStatusString) GetStatusString;
  decltype(&cublasLtMatmul) Matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) MatmulAlgoGetHeuristic;
  decltype(&cublasLtMatmulDescCreate) MatmulDescCreate;
  decltype(&cublasLtMatmulDescDestroy) MatmulDescDestroy;
  decltype(&cublasLtMatmulDescSetAttribute) MatmulDescSetAttribute;
  decltype(&cublasLtMatmulPreferenceCreate) MatmulPreferenceCreate;
  decltype(&cublasLtMatmulPreferenceDestroy) MatmulPreferenceDestroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) MatmulPreferenceSetAttribute;
  decltype(&cublasLtMatrixLayoutCreate) MatrixLayoutCreate;
  decltype(&cublasLtMatrixLayoutDestroy) MatrixLayoutDestroy;

  // RESOURCE_EXHAUSTED for too little memory, else INTERNAL.
  absl::Status ToStatus(absl::string_view device, absl::string_view call,
                        cublasStatus_t error) const;
};

// The library of the version that this program was built with, found as the dynamic linker finds
// libraries, or in the folder of the toolkit that built it. It stays loaded. UNAVAILABLE if there
// is none.
absl::StatusOr<const CublasLt*> LoadCublasLt();

}  // namespace contextpool::engine
