// JSON of untrusted files: bounded parsing and typed access whose errors name the key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace contextpool::engine {

// Parses one JSON object. Refused besides bad syntax: nesting deeper than 64, a key twice in one
// object, anything but an object or array at the top.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text);

// Text of untrusted origin for a message: quoted, escaped and cut.
std::string Quoted(absl::string_view text);
// A value for a message, likewise.
std::string Excerpt(const nlohmann::json& value);

// The value of a key; nullptr if it is absent or null, or `object` is no object.
const nlohmann::json* FindField(const nlohmann::json& object, const char* key);

struct IntRange {
  int64_t min;
  int64_t max;
};

// An absent or null key gives `fallback`; without one it is an error. INVALID_ARGUMENT names the
// key, what is allowed and what was found.
absl::StatusOr<int32_t> IntField(const nlohmann::json& object, const char* key, IntRange range,
                                 std::optional<int32_t> fallback = std::nullopt);
absl::StatusOr<std::string> StringField(const nlohmann::json& object, const char* key,
                                        std::optional<std::string> fallback = std::nullopt);
absl::StatusOr<bool> BoolField(const nlohmann::json& object, const char* key, bool fallback);

}  // namespace contextpool::engine
