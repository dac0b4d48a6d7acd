#include "kernels/simt/shared_memory.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace contextpool::kernels::simt {
namespace {

constexpr size_t kArrayAlignment = 16;
constexpr int kPoison = 0xff;

size_t RoundUp(size_t bytes, size_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

}  // namespace

void SharedMemory::Free::operator()(std::byte* data) const {
  ::operator delete (data, std::align_val_t{kBaseAlignment});
}

SharedMemory::SharedMemory(size_t dynamic_bytes, size_t limit_bytes)
    : dynamic_bytes_(dynamic_bytes),
      static_begin_(RoundUp(dynamic_bytes, kArrayAlignment)),
      used_bytes_(static_begin_),
      end_(std::max(static_begin_, std::min(static_begin_ + kStaticLimit, limit_bytes))),
      data_(static_cast<std::byte*>(::operator new (end_, std::align_val_t{kBaseAlignment}))),
      states_(end_) {}

void SharedMemory::Poison() {
  std::memset(data_.get(), kPoison, used_bytes_);
  std::fill_n(states_.begin(), used_bytes_, ByteState::kPoisoned);
}

std::byte* SharedMemory::Static(const void* key, size_t bytes) {
  const auto known = std::ranges::find(arrays_, key, &StaticArray::key);
  if (known != arrays_.end()) return data_.get() + known->offset;
  const size_t begin = RoundUp(used_bytes_, kArrayAlignment);
  if (begin > end_ || bytes > end_ - begin) return nullptr;
  arrays_.push_back({key, begin});
  used_bytes_ = begin + bytes;
  std::memset(data_.get() + begin, kPoison, bytes);
  std::fill_n(states_.begin() + begin, bytes, ByteState::kPoisoned);
  return data_.get() + begin;
}

ByteState SharedMemory::StateOf(const void* address, size_t bytes) const {
  const auto begin = states_.begin() + Offset(address);
  const auto bad = std::find_if(begin, begin + bytes,
                                [](ByteState state) { return state != ByteState::kWritten; });
  return bad == begin + bytes ? ByteState::kWritten : *bad;
}

bool SharedMemory::HasPendingCopy(const void* address, size_t bytes) const {
  const auto begin = states_.begin() + Offset(address);
  return std::find(begin, begin + bytes, ByteState::kCopyPending) != begin + bytes;
}

void SharedMemory::SetState(const void* address, size_t bytes, ByteState state) {
  std::fill_n(states_.begin() + Offset(address), bytes, state);
}

void SharedMemory::BeginCopy(void* address, size_t bytes) {
  std::memset(address, kPoison, bytes);
  SetState(address, bytes, ByteState::kCopyPending);
}

void SharedMemory::FinishCopy(void* address, size_t bytes, const void* source,
                              size_t source_bytes) {
  if (source_bytes > 0) std::memcpy(address, source, source_bytes);
  std::memset(static_cast<std::byte*>(address) + source_bytes, 0, bytes - source_bytes);
  SetState(address, bytes, ByteState::kWritten);
}

}  // namespace contextpool::kernels::simt
