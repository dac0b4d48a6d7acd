// The GPU that the tests of models in 16-bit floats run on: the program decides.
#pragma once

#include <memory>

#include "engine/base/dtype.h"
#include "engine/device/device.h"

namespace contextpool::engine {

// Whether a row of a product is the same bits whatever the number of rows.
extern const bool kTestGpuIsExact;

// Ends the program if there is none.
std::unique_ptr<Device> CreateTestGpu(DType dtype);

}  // namespace contextpool::engine
