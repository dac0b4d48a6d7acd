// Random numbers that are the same everywhere for the same seed.
#pragma once

#include <random>

namespace contextpool::cli::bench {

using Random = std::mt19937_64;

// In [0, 1). The standard distributions may differ between libraries; the engine may not.
inline double Uniform01(Random& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

}  // namespace contextpool::cli::bench
