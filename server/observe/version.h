// The program's version, set by the build.
#pragma once

namespace contextpool::server {

inline constexpr char kVersion[] = CONTEXTPOOL_VERSION;

}  // namespace contextpool::server
