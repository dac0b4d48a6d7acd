// Where the running thread is in its launch.
#pragma once

#include "kernels/cuda/launch_config.h"

namespace contextpool::kernels::simt {

Dim3 ThreadIndex();
Dim3 BlockIndex();
const LaunchConfig& Config();

}  // namespace contextpool::kernels::simt
