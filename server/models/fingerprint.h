// Tells whether a model's files have changed, without reading them.
#pragma once

#include <string>

namespace contextpool::server {

// Names, sizes, times of change and inodes of the files in `folder` and right below it that a model
// can be made of (*.json, *.safetensors). Equal for folders that nobody touched; a file that is
// replaced, overwritten, added or removed makes it another. Of a folder that cannot be read: empty.
std::string Fingerprint(const std::string& folder);

}  // namespace contextpool::server
