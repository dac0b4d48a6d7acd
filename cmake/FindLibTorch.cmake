# Finds the CPU part of LibTorch inside a PyTorch wheel: LibTorch::LibTorch.
#
# Looks in LIBTORCH_ROOT (variable or environment), else in the user cache folder that
# script/bootstrap fills. The root holds `torch/` and `nvidia/` side by side, as pip installs them.
# Only libtorch_cpu and libc10 are linked; what they load of CUDA (cudart, cupti) needs no driver.

set(_libtorch_version 2.11.0)
if(DEFINED ENV{XDG_CACHE_HOME})
  set(_libtorch_cache "$ENV{XDG_CACHE_HOME}")
else()
  set(_libtorch_cache "$ENV{HOME}/.cache")
endif()
set(_libtorch_hints ${LIBTORCH_ROOT} $ENV{LIBTORCH_ROOT}
                    ${_libtorch_cache}/contextpool-server/libtorch-${_libtorch_version})

find_path(LibTorch_INCLUDE_DIR ATen/ATen.h HINTS ${_libtorch_hints} PATH_SUFFIXES torch/include
          NO_DEFAULT_PATH)
find_library(LibTorch_CPU_LIBRARY torch_cpu HINTS ${_libtorch_hints} PATH_SUFFIXES torch/lib
             NO_DEFAULT_PATH)
find_library(LibTorch_C10_LIBRARY c10 HINTS ${_libtorch_hints} PATH_SUFFIXES torch/lib
             NO_DEFAULT_PATH)
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LibTorch
  REQUIRED_VARS LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY
  REASON_FAILURE_MESSAGE "run script/bootstrap, or set LIBTORCH_ROOT to a folder holding torch/")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  get_filename_component(_libtorch_lib "${LibTorch_CPU_LIBRARY}" DIRECTORY)
  get_filename_component(_libtorch_root "${_libtorch_lib}/../.." ABSOLUTE)
  set(_libtorch_cuda "${_libtorch_root}/nvidia/cu13/lib")
  add_library(LibTorch::C10 SHARED IMPORTED)
  set_target_properties(LibTorch::C10 PROPERTIES IMPORTED_LOCATION "${LibTorch_C10_LIBRARY}")
  add_library(LibTorch::LibTorch SHARED IMPORTED)
  set_target_properties(
    LibTorch::LibTorch
    PROPERTIES IMPORTED_LOCATION "${LibTorch_CPU_LIBRARY}"
               INTERFACE_INCLUDE_DIRECTORIES
               "${LibTorch_INCLUDE_DIR};${LibTorch_INCLUDE_DIR}/torch/csrc/api/include"
               INTERFACE_SYSTEM_INCLUDE_DIRECTORIES
               "${LibTorch_INCLUDE_DIR};${LibTorch_INCLUDE_DIR}/torch/csrc/api/include"
               INTERFACE_LINK_LIBRARIES LibTorch::C10
               # The linker resolves what libtorch_cpu itself needs (cudart, cupti) from here.
               INTERFACE_LINK_OPTIONS "-Wl,-rpath-link,${_libtorch_cuda}:${_libtorch_lib}")
endif()
