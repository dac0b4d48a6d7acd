// Memory for pixels that is used again and again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace contextpool::engine {

// Vectorised code reads so many bytes past a buffer's end, and ignores what they hold.
inline constexpr size_t kImageSlackBytes = 64;

// Bytes whose content is left as it is: memory that a file's header asks for costs nothing before
// pixels are written to it.
class ByteBuffer {
 public:
  // What `bytes` bytes held before is lost where they do not fit. Throws std::bad_alloc.
  uint8_t* Resize(size_t bytes) {
    if (bytes + kImageSlackBytes > capacity_) {
      data_.reset();
      capacity_ = 0;
      data_ = std::make_unique_for_overwrite<uint8_t[]>(bytes + kImageSlackBytes);
      capacity_ = bytes + kImageSlackBytes;
    }
    size_ = bytes;
    return data_.get();
  }

  // Gives the memory back if it is more than `bytes`.
  void ShrinkTo(size_t bytes) {
    if (capacity_ <= bytes) return;
    data_.reset();
    capacity_ = size_ = 0;
  }

  uint8_t* data() { return data_.get(); }
  const uint8_t* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  std::unique_ptr<uint8_t[]> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// [height, width, 3], rows without gaps.
struct Pixels {
  int32_t width = 0;
  int32_t height = 0;
  ByteBuffer bytes;

  uint8_t* Resize(int32_t new_width, int32_t new_height) {
    width = new_width;
    height = new_height;
    return bytes.Resize(size_t{3} * width * height);
  }
  size_t row_bytes() const { return size_t{3} * width; }
  const uint8_t* row(int32_t y) const { return bytes.data() + y * row_bytes(); }
  uint8_t* row(int32_t y) { return bytes.data() + y * row_bytes(); }
};

}  // namespace contextpool::engine
