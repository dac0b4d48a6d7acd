// What kernels are written with: one source that nvcc compiles for a GPU, each primitive being an
// instruction or two, and that a C++ compiler compiles for the emulator (kernels/simt), which
// checks every use. How to write and test a kernel: docs/kernels/emulator.md.
//
// Everything is in contextpool::kernels::SIMT_BACKEND, where kernels belong too. Accesses take
// element numbers. [E] marks what only the emulator checks; a GPU does something undefined.
//
// Kernels (kernels/cuda/macros.cuh)
//   template <...> SIMT_KERNEL(threads, blocks) void Name(Args args) { ... }
//       A kernel of at most `threads` threads a block, `blocks` blocks a processor.
//   SIMT_DEVICE, SIMT_HOST_DEVICE, SIMT_UNROLL, SIMT_NO_UNROLL
//   Status Launch(LaunchConfig, StreamHandle, Name<...>, args...)
//       The host's side. kLaunchFailed if the launch is refused; in the emulator also if it runs
//       into a fault, which its Stream then reports.
//   DeviceLimits LimitsOf(StreamHandle)
//       Of the current device, which the stream must be on; on the host.
//   Dim3 ThreadIdx(), BlockIdx(), BlockDim(), GridDim()
//
// Values
//   BF16, F16                      16-bit floating-point; no arithmetic of their own
//   float ToFloat(T), T FromFloat<T>(float)        T: float, BF16, F16; to nearest, ties to even
//   uint32_t Pack<T>(float low, float high), Vec<float, 2> Unpack<T>(uint32_t)
//   Vec<T, N>                      N values, aligned to their size; v[i]
//   float Exp2(float)              2^x within 2 ulp, subnormal results are 0
//   float Rsqrt(float)             1 / sqrt(x) within 2 ulp
//   The functions of <cmath> with an f at the end (erff, tanhf, fmaxf, ...) work in both.
//
// Memory: Global<T> and Shared<T>, T const if it is only read. [E] each access: in the array, its
// address a multiple of its bytes (1, 2, 4, 8 or 16); shared memory written before it is read;
// global memory in a registered buffer.
//   Global<T>(T* data, int64_t count)              made by the launcher; false if data is null
//   T Load(i), Vec<T, N> LoadVec<N>(i), Store(i, T), StoreVec(i, Vec<T, N>)
//   AtomicAdd(i, value)            of Global<int64_t>: in whole numbers the order does not matter
//   Slice(first, count)            a part of it, with bounds of its own
//   Shared<U> shared.As<U>()       the same bytes as another type
//   SIMT_SHARED(T, name, count);   a Shared<T> of fixed size, at the start of a function
//   SharedPool pool; pool.Take<T>(count, alignment = 16)
//       The launch's dynamic shared memory, piece by piece; all threads take the same pieces.
//
// Copies from global to shared memory in the background (cp.async)
//   CopyAsync<bytes>(shared, i, global, j, source_bytes = bytes)
//       bytes: 4, 8 or 16, and both addresses multiples of them. Beyond source_bytes zeros are
//       written and nothing is read: 0 for what does not exist. [E] Until the wait, nobody may
//       touch the destination, which is poisoned.
//   CopyAsyncCommit(), CopyAsyncWait<n>()
//       Makes a group of the thread's copies so far; waits until at most n groups are pending.
//       Other threads may read the data after a barrier.
//
// Collectives of a warp: all lanes of `mask` must come (the last argument, all 32 by default).
// [E] Lanes of a mask at different collectives or source lines, and lanes that never come.
//   T Shuffle(T, lane), ShuffleUp(T, delta), ShuffleDown(T, delta), ShuffleXor(T, lanes)
//       T: 4 or 8 bytes. Beyond the warp a lane gets its own value.
//   uint32_t Ballot(bool), bool Any(bool), bool All(bool)
//   SyncWarp()
//
// Matrices: whole warps (no mask). Layouts: kernels/simt/matrix_ops.h.
//   Vec<uint32_t, N> LoadMatrix<N>(shared, row), LoadMatrixTransposed<N>(shared, row)
//       N matrices of 8 x 8 16-bit elements, N: 1, 2, 4; lane l gives the element number of row
//       l % 8 of matrix l / 8, of which 16 bytes are read.
//   StoreMatrix(shared, row, Vec<uint32_t, N>), StoreMatrixTransposed(...)
//       The opposite; before sm_90 by ordinary stores.
//   Mma<T>(Vec<float, 4>& d, Vec<uint32_t, 4> a, Vec<uint32_t, 2> b)
//       d += a b, 16 x 8 x 16, T: BF16 or F16.
//   MmaS8(Vec<int32_t, 4>& d, Vec<uint32_t, 4> a, Vec<uint32_t, 2> b)
//       d += a b, 16 x 8 x 32, signed bytes.
//
// Barriers of a block
//   SyncThreads()                  all threads, from one source line
//   SyncNamed(id, threads), ArriveNamed(id, threads)
//       Barriers 1 to 15 for `threads` threads of whole warps; ArriveNamed does not wait.
#pragma once

#include "kernels/cuda/macros.cuh"

#if defined(__CUDACC__)
#include "kernels/cuda/ptx.cuh"
#else
#include "kernels/simt/device.h"
#endif
