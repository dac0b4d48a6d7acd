// Typed access to JSON with errors that name the key.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/json.h"
#include "nlohmann/json.hpp"

namespace contextpool::engine {

// A value and where it is in the document ("model.vocab"). Must not outlive the document. Getters
// return INVALID_ARGUMENT with the path when the value is missing or of another type.
class JsonField {
 public:
  JsonField(const nlohmann::json& value, std::string path)
      : value_(&value), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& path() const { return path_; }

  absl::Status Error(absl::string_view problem) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", problem));
  }
  // For a part that this program does not implement. `name` comes from the file.
  absl::Status Unsupported(absl::string_view name) const {
    return Error(absl::StrCat(Quoted(name), " is not supported"));
  }

  // A missing key reads as null. An error if this value is not an object.
  absl::StatusOr<JsonField> Find(const char* key) const {
    if (!value_->is_object()) return Error("must be an object");
    static const nlohmann::json kNull;
    const auto it = value_->find(key);
    return JsonField(it == value_->end() ? kNull : *it,
                     path_.empty() ? key : absl::StrCat(path_, ".", key));
  }
  JsonField At(size_t index) const {
    return JsonField((*value_)[index], absl::StrCat(path_, "[", index, "]"));
  }

  bool is_null() const { return value_->is_null(); }

  absl::StatusOr<std::string> String() const {
    if (!value_->is_string()) return Error("must be a string");
    return value_->get<std::string>();
  }
  absl::StatusOr<bool> Bool() const {
    if (!value_->is_boolean()) return Error("must be true or false");
    return value_->get<bool>();
  }
  // In [0, limit).
  absl::StatusOr<int64_t> Integer(int64_t limit) const {
    if (!value_->is_number_unsigned() || value_->get<uint64_t>() >= static_cast<uint64_t>(limit)) {
      return Error(absl::StrCat("must be an integer from 0 to ", limit - 1));
    }
    return value_->get<int64_t>();
  }
  absl::StatusOr<size_t> ArraySize() const {
    if (!value_->is_array()) return Error("must be an array");
    return value_->size();
  }

  // The same for a member.
  absl::StatusOr<std::string> String(const char* key) const {
    absl::StatusOr<JsonField> field = Find(key);
    return field.ok() ? field->String() : field.status();
  }
  absl::StatusOr<bool> Bool(const char* key) const {
    absl::StatusOr<JsonField> field = Find(key);
    return field.ok() ? field->Bool() : field.status();
  }
  absl::StatusOr<int64_t> Integer(const char* key, int64_t limit) const {
    absl::StatusOr<JsonField> field = Find(key);
    return field.ok() ? field->Integer(limit) : field.status();
  }

 private:
  const nlohmann::json* value_;
  std::string path_;
};

inline constexpr int64_t kIdLimit = std::numeric_limits<int32_t>::max();

}  // namespace contextpool::engine
