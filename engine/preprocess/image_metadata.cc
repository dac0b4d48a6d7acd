#include "engine/preprocess/image_metadata.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "engine/preprocess/image_bytes.h"

namespace contextpool::engine {
namespace {

constexpr uint32_t kOrientationTag = 0x0112;
constexpr size_t kEntryBytes = 12;

// A TIFF structure in either byte order.
struct Tiff {
  absl::string_view bytes;
  bool big_endian;

  uint32_t Read16(size_t at) const {
    return big_endian ? ReadBig16(&bytes[at]) : ReadLittle16(&bytes[at]);
  }
  uint32_t Read32(size_t at) const {
    return big_endian ? ReadBig32(&bytes[at]) : ReadLittle32(&bytes[at]);
  }
};

// The value of a directory's entry: one SHORT or LONG, which stands in the entry itself.
std::optional<int> IntegerOfEntry(const Tiff& tiff, size_t at) {
  constexpr uint32_t kShort = 3;
  constexpr uint32_t kLong = 4;
  const uint32_t type = tiff.Read16(at + 2);
  if (tiff.Read32(at + 4) != 1) return std::nullopt;
  if (type == kShort) return static_cast<int>(tiff.Read16(at + 8));
  if (type == kLong) return static_cast<int>(tiff.Read32(at + 8) & 0x7fffffff);
  return std::nullopt;
}

}  // namespace

std::optional<int> ExifOrientation(absl::string_view exif) {
  while (absl::ConsumePrefix(&exif, kExifHeader)) {
  }
  if (exif.size() < 8) return std::nullopt;
  const Tiff tiff = {exif, absl::StartsWith(exif, absl::string_view("MM\0*", 4))};
  if (!tiff.big_endian && !absl::StartsWith(exif, absl::string_view("II*\0", 4))) {
    return std::nullopt;
  }
  const uint64_t directory = tiff.Read32(4);
  if (directory + 2 > exif.size()) return std::nullopt;
  const size_t entries = tiff.Read16(directory);
  std::optional<int> orientation;
  for (size_t i = 0; i < entries; ++i) {
    const size_t at = directory + 2 + i * kEntryBytes;
    if (at + kEntryBytes > exif.size()) break;
    if (tiff.Read16(at) == kOrientationTag) orientation = IntegerOfEntry(tiff, at);
  }
  return orientation;
}

std::optional<int> XmpOrientation(absl::string_view xmp) {
  constexpr absl::string_view kTag = "tiff:Orientation";
  for (size_t at = xmp.find(kTag); at != xmp.npos; at = xmp.find(kTag, at)) {
    at += kTag.size();
    absl::string_view rest = xmp.substr(at);
    if (!absl::ConsumePrefix(&rest, "=\"") && !absl::ConsumePrefix(&rest, ">")) continue;
    if (!rest.empty() && absl::ascii_isdigit(rest.front())) return rest.front() - '0';
  }
  return std::nullopt;
}

}  // namespace contextpool::engine
