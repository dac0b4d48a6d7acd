#include "clients/cli/npy.h"

#include <bit>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "clients/cli/replace_file.h"

namespace contextpool::cli {

static_assert(std::endian::native == std::endian::little, "the numbers are written as they are");

std::string NpyHeader(size_t rows, size_t columns) {
  constexpr size_t kAlignment = 64;
  constexpr size_t kPreamble = 10;  // magic, version, length
  std::string dict = absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (", rows, ", ",
                                  columns, "), }");
  const size_t used = kPreamble + dict.size() + 1;
  dict.append((kAlignment - used % kAlignment) % kAlignment, ' ');
  dict.push_back('\n');
  std::string header("\x93NUMPY\x01\x00", 8);
  header.push_back(static_cast<char>(dict.size() & 0xFF));
  header.push_back(static_cast<char>(dict.size() >> 8));
  return header + dict;
}

absl::Status WriteNpy(const std::string& path, size_t rows, size_t columns,
                      std::span<const float> values) {
  const absl::string_view numbers(reinterpret_cast<const char*>(values.data()),
                                  values.size_bytes());
  return ReplaceFile(path, {NpyHeader(rows, columns), numbers});
}

}  // namespace contextpool::cli
