// Integers as image files store them. REQUIRES of all: that many bytes are there.
#pragma once

#include <cstdint>

namespace contextpool::engine {

inline uint32_t ByteAt(const char* p) { return static_cast<uint8_t>(*p); }

// Most significant byte first.
inline uint32_t ReadBig16(const char* p) { return ByteAt(p) << 8 | ByteAt(p + 1); }
inline uint32_t ReadBig32(const char* p) { return ReadBig16(p) << 16 | ReadBig16(p + 2); }

// Least significant byte first.
inline uint32_t ReadLittle16(const char* p) { return ByteAt(p) | ByteAt(p + 1) << 8; }
inline uint32_t ReadLittle24(const char* p) { return ReadLittle16(p) | ByteAt(p + 2) << 16; }
inline uint32_t ReadLittle32(const char* p) { return ReadLittle16(p) | ReadLittle16(p + 2) << 16; }

}  // namespace contextpool::engine
