# nvcc as one of the build's compilers: the language CUDA, contextpool_cuda_flags.
#
# Without ccache: version 4.7 takes an object for the one that was asked for if the source differs in
# code for one architecture only (#if __CUDA_ARCH__).
#
# Which nvcc: CMAKE_CUDA_COMPILER, which script/build --cuda sets; else CUDACXX or the one in PATH.

set(_cuda_oldest 12.4)

# Asked before the language is enabled, which could not say what to do.
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  message(FATAL_ERROR "CONTEXTPOOL_CUDA is on, but there is no working nvcc. "
                      "script/build --cuda fetches one; or set CUDACXX to that of a CUDA toolkit.")
endif()
set(CMAKE_CUDA_ARCHITECTURES 80)
enable_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER_ID STREQUAL "NVIDIA"
   OR CMAKE_CUDA_COMPILER_VERSION VERSION_LESS ${_cuda_oldest})
  message(FATAL_ERROR "The kernels need nvcc ${_cuda_oldest} or newer, and ${CMAKE_CUDA_COMPILER} is "
                      "${CMAKE_CUDA_COMPILER_ID} ${CMAKE_CUDA_COMPILER_VERSION}. "
                      "script/build --cuda fetches one; or set CUDACXX to that of a newer toolkit.")
endif()

# A fat binary: machine code for A100 and its relatives, for H100, for B200, for the newest family of
# GPUs that this nvcc knows, and PTX that the driver translates for all the others. Machine code for
# the first GPUs of a family (120) runs on its later ones (121).
execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch OUTPUT_VARIABLE _cuda_known
                        COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[0-9]+" _cuda_known "${_cuda_known}")
list(SORT _cuda_known COMPARE NATURAL)
list(GET _cuda_known -1 _cuda_newest)
math(EXPR _cuda_newest "${_cuda_newest} / 10 * 10")
set(CMAKE_CUDA_ARCHITECTURES 80 90a-real)
foreach(_cuda_arch IN ITEMS 100 ${_cuda_newest})
  if(_cuda_arch GREATER 90 AND _cuda_arch IN_LIST _cuda_known)
    list(APPEND CMAKE_CUDA_ARCHITECTURES ${_cuda_arch}-real)
  endif()
endforeach()
list(REMOVE_DUPLICATES CMAKE_CUDA_ARCHITECTURES)

set(CMAKE_CUDA_STANDARD ${CMAKE_CXX_STANDARD})
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  # CMake 3.25 does not know how nvcc is told.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()

# As contextpool_flags, for nvcc and the host compiler that it calls.
add_library(contextpool_cuda_flags INTERFACE)
target_compile_options(contextpool_cuda_flags INTERFACE -lineinfo -Xcompiler=-Wall,-Wextra)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 13.0)
  # A seventh of the size; every driver that takes this version's runtime reads it.
  target_compile_options(contextpool_cuda_flags INTERFACE --compress-mode=size)
endif()
if(CONTEXTPOOL_WERROR)
  target_compile_options(contextpool_cuda_flags INTERFACE -Werror=all-warnings -Xcompiler=-Werror)
endif()
