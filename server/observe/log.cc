#include "server/observe/log.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace contextpool::server {
namespace {

absl::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

std::string Text(absl::string_view value) {
  const bool plain = std::all_of(value.begin(), value.end(), [](char c) {
    return absl::ascii_isgraph(c) && c != '"' && c != '\\' && c != '=';
  });
  if (plain && !value.empty()) return std::string(value);
  return absl::StrCat("\"", absl::Utf8SafeCEscape(value), "\"");
}

std::string Text(const LogField& field) {
  return std::visit(
      [](const auto& value) -> std::string {
        using Value = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, bool>) {
          return value ? "true" : "false";
        } else if constexpr (std::is_same_v<Value, absl::string_view>) {
          return Text(value);
        } else {
          return absl::StrCat(value);
        }
      },
      field.value);
}

nlohmann::ordered_json Json(const LogField& field) {
  return std::visit(
      [](const auto& value) -> nlohmann::ordered_json {
        using Value = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, absl::string_view>) {
          return std::string(value);
        } else {
          return value;
        }
      },
      field.value);
}

}  // namespace

std::string Logger::Format(LogFormat format, absl::string_view time, LogLevel level,
                           absl::string_view message, std::initializer_list<LogField> fields) {
  if (format == LogFormat::kJson) {
    nlohmann::ordered_json line = {{"time", std::string(time)},
                                   {"level", std::string(LevelName(level))},
                                   {"message", std::string(message)}};
    for (const LogField& field : fields) line[std::string(field.key)] = Json(field);
    return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  }
  std::string line = absl::StrCat(time, " ", absl::AsciiStrToUpper(LevelName(level)), " ",
                                  absl::Utf8SafeCEscape(message));
  for (const LogField& field : fields) absl::StrAppend(&line, " ", field.key, "=", Text(field));
  return line;
}

void Logger::Log(LogLevel level, absl::string_view message,
                 std::initializer_list<LogField> fields) {
  if (!enabled(level)) return;
  const std::string time =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
  const std::string line = absl::StrCat(Format(format_, time, level, message, fields), "\n");
  // A log that cannot be written must not stop the server.
  [[maybe_unused]] const ssize_t written = write(file_descriptor_, line.data(), line.size());
}

}  // namespace contextpool::server
