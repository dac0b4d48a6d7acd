#include "engine/base/json.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;
constexpr size_t kMaxExcerptBytes = 120;

absl::Status WrongField(const json& found, const char* key, absl::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", key, "\" must be ", wanted, ", found ", Excerpt(found)));
}

absl::Status MissingField(const char* key) {
  return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is missing"));
}

// Thrown through the parser, which stops it before it spends memory on the rest.
struct Refusal {
  std::string reason;
};

// Watches the parser for what is valid JSON but no honest file.
class Guard {
 public:
  void operator()(int depth, json::parse_event_t event, const json& value) {
    if (depth > kMaxDepth) throw Refusal{absl::StrCat("is nested deeper than ", kMaxDepth)};
    if (event == json::parse_event_t::object_start) {
      keys_.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys_.pop_back();
    } else if (event == json::parse_event_t::key) {
      const std::string& key = value.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        throw Refusal{absl::StrCat("holds the key ", Quoted(key), " twice")};
      }
    }
  }

 private:
  // Of the objects that are open.
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

absl::StatusOr<json> ParseJson(absl::string_view text) {
  Guard guard;
  json value;
  try {
    value = json::parse(text.begin(), text.end(),
                        [&guard](int depth, json::parse_event_t event, json& parsed) {
                          guard(depth, event, parsed);
                          return true;
                        });
  } catch (const Refusal& refusal) {
    return absl::InvalidArgumentError(refusal.reason);
  } catch (const json::parse_error& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("is not valid JSON (the fault is at byte ", error.byte, ")"));
  } catch (const json::exception&) {
    return absl::InvalidArgumentError("holds a number that is out of range");
  }
  if (!value.is_structured()) {
    return absl::InvalidArgumentError("is neither a JSON object nor an array");
  }
  return value;
}

std::string Quoted(absl::string_view text) {
  const bool cut = text.size() > kMaxExcerptBytes;
  return absl::StrCat("\"", absl::CEscape(text.substr(0, kMaxExcerptBytes)), cut ? "..." : "",
                      "\"");
}

std::string Excerpt(const json& value) {
  if (value.is_string()) return Quoted(value.get_ref<const std::string&>());
  if (value.is_array()) return absl::StrCat("an array of ", value.size());
  if (value.is_object()) return absl::StrCat("an object of ", value.size(), " keys");
  return value.dump();
}

const json* FindField(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

absl::StatusOr<int32_t> IntField(const json& object, const char* key, IntRange range,
                                 std::optional<int32_t> fallback) {
  const json* field = FindField(object, key);
  if (field == nullptr) {
    if (fallback.has_value()) return *fallback;
    return MissingField(key);
  }
  // The parser stores every non-negative integer as unsigned.
  const bool inside = field->is_number_unsigned()
                          ? field->get<uint64_t>() <= static_cast<uint64_t>(range.max) &&
                                static_cast<int64_t>(field->get<uint64_t>()) >= range.min
                          : field->is_number_integer() && field->get<int64_t>() >= range.min;
  if (!inside) {
    return WrongField(*field, key, absl::StrCat("an integer from ", range.min, " to ", range.max));
  }
  return field->get<int32_t>();
}

absl::StatusOr<std::string> StringField(const json& object, const char* key,
                                        std::optional<std::string> fallback) {
  const json* field = FindField(object, key);
  if (field == nullptr) {
    if (fallback.has_value()) return *fallback;
    return MissingField(key);
  }
  if (!field->is_string()) return WrongField(*field, key, "a string");
  return field->get<std::string>();
}

absl::StatusOr<bool> BoolField(const json& object, const char* key, bool fallback) {
  const json* field = FindField(object, key);
  if (field == nullptr) return fallback;
  if (!field->is_boolean()) return WrongField(*field, key, "true or false");
  return field->get<bool>();
}

}  // namespace contextpool::engine
