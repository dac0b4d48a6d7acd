#include "engine/device/cuda/cublas_lt.h"

#include <dlfcn.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace contextpool::engine {
namespace {

#define CONTEXTPOOL_TEXT_OF(x) #x
#define CONTEXTPOOL_TEXT(x) CONTEXTPOOL_TEXT_OF(x)
constexpr char kLibrary[] = "libcublasLt.so." CONTEXTPOOL_TEXT(CUBLAS_VER_MAJOR);

template <typename Function>
void Find(void* library, const char* name, Function& function, std::string& missing) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr && missing.empty()) missing = name;
}

absl::StatusOr<CublasLt> Load() {
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    library = dlopen(absl::StrCat(CONTEXTPOOL_CUDA_LIBRARIES, "/", kLibrary).c_str(),
                     RTLD_NOW | RTLD_LOCAL);
  }
  if (library == nullptr) {
    return absl::UnavailableError(
        absl::StrCat(kLibrary, " cannot be loaded; install cuBLAS of CUDA ", CUBLAS_VER_MAJOR,
                     " or put its folder into LD_LIBRARY_PATH (", dlerror(), ")"));
  }
  CublasLt lt{};
  std::string missing;
  Find(library, "cublasLtCreate", lt.Create, missing);
  Find(library, "cublasLtDestroy", lt.Destroy, missing);
  Find(library, "cublasLtGetStatusString", lt.GetStatusString, missing);
  Find(library, "cublasLtMatmul", lt.Matmul, missing);
  Find(library, "cublasLtMatmulAlgoGetHeuristic", lt.MatmulAlgoGetHeuristic, missing);
  Find(library, "cublasLtMatmulDescCreate", lt.MatmulDescCreate, missing);
  Find(library, "cublasLtMatmulDescDestroy", lt.MatmulDescDestroy, missing);
  Find(library, "cublasLtMatmulDescSetAttribute", lt.MatmulDescSetAttribute, missing);
  Find(library, "cublasLtMatmulPreferenceCreate", lt.MatmulPreferenceCreate, missing);
  Find(library, "cublasLtMatmulPreferenceDestroy", lt.MatmulPreferenceDestroy, missing);
  Find(library, "cublasLtMatmulPreferenceSetAttribute", lt.MatmulPreferenceSetAttribute, missing);
  Find(library, "cublasLtMatrixLayoutCreate", lt.MatrixLayoutCreate, missing);
  Find(library, "cublasLtMatrixLayoutDestroy", lt.MatrixLayoutDestroy, missing);
  if (missing.empty()) return lt;
  return absl::UnavailableError(absl::StrCat(kLibrary, " has no function ", missing));
}

}  // namespace

absl::Status CublasLt::ToStatus(absl::string_view device, absl::string_view call,
                                cublasStatus_t error) const {
  if (error == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  const std::string text =
      absl::StrCat("device ", device, ": ", call, ": ", GetStatusString(error));
  return error == CUBLAS_STATUS_ALLOC_FAILED ? absl::ResourceExhaustedError(text)
                                             : absl::InternalError(text);
}

absl::StatusOr<const CublasLt*> LoadCublasLt() {
  static const absl::StatusOr<CublasLt> loaded = Load();
  if (!loaded.ok()) return loaded.status();
  return &*loaded;
}

}  // namespace contextpool::engine
