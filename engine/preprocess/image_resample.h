// Resizing exactly as Pillow's Image.resize does, to the last bit.
#pragma once

#include <vector>

#include "engine/base/image_config.h"
#include "engine/preprocess/image_buffer.h"
#include "engine/preprocess/image_filter.h"
#include "engine/preprocess/image_rows.h"

namespace contextpool::engine {

// A resized image of which only a window is wanted, so only that is computed: work and memory do
// not depend on `resized`, which may be far larger than any memory.
struct ResamplePlan {
  Resample filter = Resample::kBilinear;
  ImageSize resized;
  // The window: inside `resized`.
  int32_t left = 0;
  int32_t top = 0;
  ImageSize window;
};

// One per thread.
class Resampler {
 public:
  explicit Resampler(const RowFunctions& functions = BestRows()) : functions_(functions) {}

  // Writes the window to `out`: rows of [window.width, 3], `out_stride` bytes apart. `source` has
  // at least one pixel.
  void Resample(const Pixels& source, const ResamplePlan& plan, uint8_t* out, size_t out_stride);

  // Gives back memory that is kept for the next image beyond what usual sizes need.
  void Shrink();

 private:
  void TakeNearest(uint8_t* out, size_t out_stride);
  void AlongThenAcross(uint8_t* out, size_t out_stride);
  void AcrossThenAlong(uint8_t* out, size_t out_stride);
  // Makes the rows before `end` available.
  void MakeRows(int32_t end);
  const uint8_t* Row(int32_t y) const;
  // Row y of the window, or of what it is then filtered along from.
  void FilterAcross(int32_t y, size_t bytes, uint8_t* out);

  const RowFunctions& functions_;
  const Pixels* source_ = nullptr;
  ResamplePlan plan_;
  bool changes_width_ = false;
  bool changes_height_ = false;
  AxisFilter along_;
  AxisFilter across_;
  // Rows that have been filtered along: [ring_rows_], row y at y modulo that.
  ByteBuffer ring_;
  int32_t ring_rows_ = 0;
  size_t ring_stride_ = 0;
  // The next row to be made. Of a source that is not filtered along first, rows are read from
  // `column_` on, and never made.
  bool makes_rows_ = false;
  int32_t next_ = 0;
  int32_t column_ = 0;
  // Rows that have been filtered across, and are to be filtered along: [kRowGroup].
  ByteBuffer wide_;
  std::vector<const uint8_t*> rows_;
  std::vector<int32_t> columns_;
  std::vector<int32_t> lines_;
};

}  // namespace contextpool::engine
