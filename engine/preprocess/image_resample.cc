#include "engine/preprocess/image_resample.h"

#include <algorithm>
#include <cstring>

namespace contextpool::engine {
namespace {

// What a thread keeps for its next image.
constexpr size_t kKeptBytes = size_t{4} << 20;

// Which of the two passes is done first, where both are: their order decides what is rounded. Since
// version 13 Pillow begins with the height where that shrinks most; before, always with the width.
bool IsAcrossFirst(const Pixels& source, const ImageSize& resized) {
  return resized.height < source.height &&
         source.height - resized.height > 2 * (int64_t{source.width} - resized.width);
}

}  // namespace

void Resampler::Resample(const Pixels& source, const ResamplePlan& plan, uint8_t* out,
                         size_t out_stride) {
  source_ = &source;
  plan_ = plan;
  // An axis is filtered only if its length changes.
  changes_width_ = plan.resized.width != source.width;
  changes_height_ = plan.resized.height != source.height;
  if (plan.filter == engine::Resample::kNearest && (changes_width_ || changes_height_)) {
    TakeNearest(out, out_stride);
    return;
  }
  if (changes_width_) {
    along_.Make({plan.filter, source.width, plan.resized.width, plan.left, plan.window.width});
  }
  if (changes_height_) {
    across_.Make({plan.filter, source.height, plan.resized.height, plan.top, plan.window.height});
    rows_.resize(across_.max_taps() + 1);
  }
  ring_stride_ = size_t{3} * plan.window.width + kImageSlackBytes;
  if (changes_width_ && changes_height_ && IsAcrossFirst(source, plan.resized)) {
    AcrossThenAlong(out, out_stride);
  } else {
    AlongThenAcross(out, out_stride);
  }
}

void Resampler::Shrink() {
  ring_.ShrinkTo(kKeptBytes);
  wide_.ShrinkTo(kKeptBytes);
  if (along_.weight_bytes() > kKeptBytes) along_ = AxisFilter();
  if (across_.weight_bytes() > kKeptBytes) across_ = AxisFilter();
}

void Resampler::TakeNearest(uint8_t* out, size_t out_stride) {
  const ImageSize& window = plan_.window;
  NearestPixels(source_->width, plan_.resized.width, plan_.left, window.width, columns_);
  NearestPixels(source_->height, plan_.resized.height, plan_.top, window.height, lines_);
  for (int32_t y = 0; y < window.height; ++y, out += out_stride) {
    std::memset(out, 0, size_t{3} * window.width);
    if (lines_[y] < 0) continue;
    const uint8_t* row = source_->row(lines_[y]);
    for (int32_t x = 0; x < window.width; ++x) {
      if (columns_[x] < 0) continue;
      std::memcpy(out + ptrdiff_t{3} * x, row + ptrdiff_t{3} * columns_[x], 3);
    }
  }
}

void Resampler::AlongThenAcross(uint8_t* out, size_t out_stride) {
  makes_rows_ = changes_width_;
  next_ = 0;
  column_ = plan_.left;
  // The oldest row of a span must survive until a group that reaches beyond its end is made.
  ring_rows_ = (changes_height_ ? across_.max_taps() : 1) + kRowGroup - 1;
  if (makes_rows_) ring_.Resize(ring_rows_ * ring_stride_);
  const size_t bytes = size_t{3} * plan_.window.width;
  for (int32_t y = 0; y < plan_.window.height; ++y, out += out_stride) {
    if (changes_height_) {
      FilterAcross(y, bytes, out);
    } else {
      MakeRows(plan_.top + y + 1);
      std::memcpy(out, Row(plan_.top + y), bytes);
    }
  }
}

void Resampler::AcrossThenAlong(uint8_t* out, size_t out_stride) {
  makes_rows_ = false;
  // Only columns that the window is made of are filtered across.
  const AxisFilter::Span& last = along_.span(along_.outputs() - 1);
  column_ = along_.span(0).first;
  const size_t bytes = size_t{3} * (last.first + last.taps - column_);
  const size_t wide_stride = source_->row_bytes() + kImageSlackBytes;
  wide_.Resize(kRowGroup * wide_stride);
  ring_.Resize(kRowGroup * ring_stride_);
  std::array<const uint8_t*, kRowGroup> from;
  std::array<uint8_t*, kRowGroup> to;
  for (int32_t y = 0; y < plan_.window.height; y += kRowGroup) {
    const int32_t count = std::min(kRowGroup, plan_.window.height - y);
    for (int32_t r = 0; r < kRowGroup; ++r) {
      uint8_t* wide = wide_.data() + r * wide_stride;
      // Of a group that is not full the other rows are made of what is there, and not used.
      if (r < count) FilterAcross(y + r, bytes, wide + ptrdiff_t{3} * column_);
      from[r] = wide;
      to[r] = ring_.data() + r * ring_stride_;
    }
    functions_.along(from, along_, to);
    for (int32_t r = 0; r < count; ++r, out += out_stride) {
      std::memcpy(out, to[r], size_t{3} * plan_.window.width);
    }
  }
}

const uint8_t* Resampler::Row(int32_t y) const {
  if (makes_rows_) return ring_.data() + y % ring_rows_ * ring_stride_;
  return source_->row(y) + ptrdiff_t{3} * column_;
}

void Resampler::MakeRows(int32_t end) {
  if (!makes_rows_) return;
  std::array<const uint8_t*, kRowGroup> from;
  std::array<uint8_t*, kRowGroup> to;
  for (; next_ < end; next_ += kRowGroup) {
    for (int32_t r = 0; r < kRowGroup; ++r) {
      // Rows beyond the last one are made of it, and not used.
      from[r] = source_->row(std::min(next_ + r, source_->height - 1));
      to[r] = ring_.data() + (next_ + r) % ring_rows_ * ring_stride_;
    }
    functions_.along(from, along_, to);
  }
}

void Resampler::FilterAcross(int32_t y, size_t bytes, uint8_t* out) {
  const AxisFilter::Span& span = across_.span(y);
  next_ = std::max(next_, span.first);
  MakeRows(span.first + span.taps);
  for (int32_t t = 0; t < span.taps; ++t) rows_[t] = Row(span.first + t);
  rows_[span.taps] = rows_[0];
  functions_.across(rows_.data(), across_, y, bytes, out);
}

}  // namespace contextpool::engine
